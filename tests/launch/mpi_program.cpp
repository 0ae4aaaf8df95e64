// `retain` with a verb that fails as its CONFIG says, on ranks that nobody but the failing one can end:
//   config  all alike, in the configuration; nothing has begun yet
//   all     all alike, while each has a save under way on a disk that hangs
//   alike   all in the same way, without knowing of each other
//   sick    like alike, where the reason is written down on a disk that hangs
//   one     rank 1 while the others wait for it
//   saving  rank 1 while its save is under way on a disk that hangs, and the others wait for it
//   peers   rank 1, and the others see that it is gone
//   none    none
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/core/error.h"
#include "launch/failure.h"
#include "launch/program.h"
#include "parallel/agreement.h"
#include "parallel/mpi/mpi_communicator.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/config.h"

namespace retain::test {
namespace {

void hang() {
  for (;;) pause();
}

int run(const std::string& mode, const MpiEnvironment& mpi) {
  const int rank = mpi.world_rank();
  const Error damaged(ErrorKind::kData, "shard 7 is damaged");
  if (mode == "config") throw ConfigError(ErrorKind::kConfig, "run.yaml:1:1: wrong");
  if (mode == "alike" || mode == "sick") throw damaged;
  if (mode == "peers") make_mpi_communicator(mpi)->barrier();
  if (mode == "peers" && rank != 1) throw CommunicationError("rank 1 is gone");
  if (mode == "all") throw SharedError(damaged.kind(), damaged.what());
  if (mode != "none" && rank == 1) throw damaged;
  if (mode != "none") hang();
  return 0;
}

/// With a save under way that a destructor waits for.
int run_while_saving(const std::string& mode, const MpiEnvironment& mpi) {
  const auto host = make_mpi_communicator(mpi);
  const Path directory =
      std::filesystem::temp_directory_path() / concat("retain-saving-", broadcast_text(*host, make_nonce(), 0));
  std::filesystem::create_directories(directory);
  CheckpointWriter writer(*host, directory, {});
  writer.begin({}, {}, {}, hang);
  if (mpi.world_rank() == 0) std::filesystem::remove_all(directory);
  const auto aborts = [&] { host->abort(); };
  return run_to_exit_code(&mpi, [&] { return run(mode, mpi); }, {.let_go = aborts});
}

}  // namespace
}  // namespace retain::test

int main(int argc, char** argv) {
  using namespace retain;
  return run_program(
      {argv + 1, argv + argc},
      [](const Command& command, const MpiEnvironment* mpi) {
        const std::string mode = std::get<TrainOptions>(command).config;
        RETAIN_CHECK(mpi != nullptr, "started without a launcher");
        if (mode == "sick") {
          const auto record = [](const Failure&, const std::string&) { test::hang(); };
          return run_to_exit_code(mpi, [&] { return test::run(mode, *mpi); }, {.record = record});
        }
        return mode == "saving" || mode == "all" ? test::run_while_saving(mode, *mpi) : test::run(mode, *mpi);
      },
      find_launch(std::getenv, mpi_family()));
}
