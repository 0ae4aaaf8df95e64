// main of the test executables that run under mpirun: every rank runs every case, rank 0 alone reports passes, and all
// ranks return the same code: 77 when every case was skipped.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "parallel/mpi/mpi_communicator.h"
#include "tests/support/ranks.h"

namespace retain::test {
namespace {

// The cases of GoogleTest take no arguments, so main leaves the world here for on_every_group().
const MpiEnvironment* environment = nullptr;

/// Replaces the printer on ranks other than 0: failures only, signed.
class FailurePrinter final : public ::testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_, result.file_name() ? result.file_name() : "?",
                 result.line_number(), result.message());
  }

 private:
  int rank_;
};

int run_all(const MpiEnvironment& mpi) {
  if (mpi.world_rank() != 0) {
    ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(mpi.world_rank()));  // GoogleTest deletes it
  }
  int32_t failed = RUN_ALL_TESTS();
  make_mpi_communicator(mpi)->all_reduce(TensorView(&failed, DType::kInt32, {1}), ReduceOp::kMax).wait();
  const ::testing::UnitTest& all = *::testing::UnitTest::GetInstance();
  const bool skipped = all.skipped_test_count() > 0 && all.skipped_test_count() == all.test_to_run_count();
  return failed == 0 && skipped ? 77 : failed;
}

}  // namespace

void on_every_group(const RankBody& body) {
  try {
    // Blocks of two sizes: the usual one, and one so small that tensors of a few thousand numbers are cut.
    for (const int64_t block_bytes : {4 << 20, 4 << 10}) {
      const std::unique_ptr<Communicator> world = make_mpi_communicator(*environment, block_bytes);
      body(*world);
    }
  } catch (const std::exception& e) {
    // The other ranks wait in a collective for this one.
    std::fprintf(stderr, "rank %d: %s\n", environment->world_rank(), e.what());
    MpiEnvironment::abort(1);
  }
}

}  // namespace retain::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const retain::MpiEnvironment mpi;
  retain::test::environment = &mpi;
  return retain::test::run_all(mpi);
}
