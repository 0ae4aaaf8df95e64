// Every layout of up to 8 ranks with every pair of features follows one rank; RETAIN_FEATURES_FULL=1: every
// combination.
#include "trainer/selftest/selftest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <set>
#include <tuple>

#include "parallel/threads/run_ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/selftest/feature_pairs.h"

namespace retain::test {
namespace {

using Pairs = std::set<std::tuple<size_t, int, size_t, int>>;

Pairs pairs_in(const std::vector<FeatureRow>& rows) {
  Pairs pairs;
  for (const FeatureRow& row : rows) {
    for (size_t a = 0; a < row.size(); ++a) {
      for (size_t b = a + 1; b < row.size(); ++b) pairs.insert({a, row[a], b, row[b]});
    }
  }
  return pairs;
}

TEST(FeaturePairs, AreAllInFewRows) {
  const auto legal = [](const FeatureRow& row) { return row[0] != 2 || row[1] == 0; };
  const std::vector<FeatureRow> all = all_rows({10, 2, 3, 4, 2}, legal);
  EXPECT_EQ(all.size(), 480u - 24u);
  const std::vector<FeatureRow> few = pairs_of(all);
  EXPECT_EQ(pairs_in(few), pairs_in(all));
  EXPECT_LE(few.size(), 50u);  // 40 pairs of the two longest features
  EXPECT_THAT(few, testing::IsSubsetOf(all));
}

int failures_of(int ranks, const std::vector<SelftestCase>& cases, int steps,
                const std::function<void(const SelftestResult&)>& report, const MakeTensorGroup& make = same_group) {
  int failed = -1;
  run_ranks(
      ranks,
      [&](Communicator& world) {
        const TemporaryDirectory directory;
        const auto backend = make_cpu_backend(1);
        const int mine =
            run_selftest({.world = world, .backend = *backend, .groups = [&](Communicator&) { return make; }}, cases,
                         steps, directory.path(), report);
        if (world.rank() == 0) failed = mine;
      },
      std::chrono::minutes(30));
  return failed;
}

TEST(Selftest, EveryLayoutOfEightRanksFollowsOneRank) {
  const bool full = std::getenv("RETAIN_FEATURES_FULL") != nullptr;
  const std::vector<SelftestCase> cases =
      selftest_cases(8, DeviceKind::kCpu, full ? SelftestExtent::kAll : SelftestExtent::kPairs);
  std::set<std::string> layouts;
  const int failed = failures_of(8, cases, 20, [&](const SelftestResult& result) {
    layouts.insert(result.what.mesh.describe());
    EXPECT_TRUE(result.passed()) << result.what.describe() << ": loss " << result.loss_difference << ", gradient "
                                 << result.gradient_difference;
  });
  EXPECT_EQ(failed, 0);
  for (const char* layout : {"dp=8 cp=1 tp=1", "dp=1 cp=8 tp=1", "dp=1 cp=1 tp=8", "dp=2 cp=2 tp=2", "dp=7 cp=1 tp=1"})
    EXPECT_THAT(layouts, testing::Contains(layout));
}

// A group whose sums are off by one part in ten thousand.
class InexactCommunicator final : public Communicator {
 public:
  explicit InexactCommunicator(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}
  const char* name() const override { return inner_->name(); }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Pending all_reduce(const TensorView& x, ReduceOp op) override {
    inner_->all_reduce(x, op).wait();
    scale(x);
    return {};
  }
  Pending all_gather(const TensorView& out, const TensorView& in) override { return inner_->all_gather(out, in); }
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override {
    inner_->reduce_scatter(out, in).wait();
    scale(out);
    return {};
  }
  Pending broadcast(const TensorView& x, int root) override { return inner_->broadcast(x, root); }
  Pending send(const TensorView& x, int peer) override { return inner_->send(x, peer); }
  Pending receive(const TensorView& x, int peer) override { return inner_->receive(x, peer); }
  void barrier() override { inner_->barrier(); }
  std::unique_ptr<Communicator> split(int color, int key) override { return inner_->split(color, key); }

 private:
  void scale(const TensorView& x) {
    if (size() > 1 && x.dtype == DType::kFloat32) {
      for (int64_t i = 0; i < x.elements(); ++i) static_cast<float*>(x.data)[i] *= 1.0001F;
    }
  }
  void wait(int64_t) override {}
  std::unique_ptr<Communicator> inner_;
};

TEST(Selftest, FindsSumsThatAreSlightlyWrong) {
  std::vector<SelftestCase> cases;
  for (const MeshShape& mesh : {MeshShape{1, 1, 1}, MeshShape{2, 1, 1}, MeshShape{1, 1, 2}, MeshShape{1, 2, 1}})
    cases.push_back({.mesh = mesh, .compute = DType::kFloat32});
  const MakeTensorGroup inexact = [](std::unique_ptr<Communicator> group) {
    return std::make_unique<InexactCommunicator>(std::move(group));
  };
  std::vector<bool> passed;
  EXPECT_EQ(failures_of(
                2, cases, 2, [&](const SelftestResult& r) { passed.push_back(r.passed()); }, inexact),
            3);
  EXPECT_THAT(passed, testing::ElementsAre(true, false, false, false));
}

}  // namespace
}  // namespace retain::test
