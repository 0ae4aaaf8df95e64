// Ends in the way that its argument names; see mpi_environment_test.cpp.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "parallel/mpi/launch.h"
#include "parallel/mpi/mpi_communicator.h"

namespace retain {
namespace {

void run(const std::string& mode) {
  const MpiEnvironment mpi;
  const auto world = make_mpi_communicator(mpi);
  if (mode == "place") {
    std::printf("world %d/%d local %d/%d on %s launched %d\n", mpi.world_rank(), mpi.world_size(), mpi.local_rank(),
                mpi.local_size(), mpi.host().c_str(), find_launch(std::getenv, mpi_family()).in_mpi);
  } else if (mode == "abort") {
    if (mpi.world_rank() == 1) MpiEnvironment::abort(76);
    world->barrier();
  } else if (mode == "throw") {
    const auto part = world->split(0, 0);
    if (mpi.world_rank() == 1) throw Error(ErrorKind::kData, "shard 7 is damaged");
    part->barrier();
  } else if (mode == "truncate") {
    std::vector<uint8_t> x(100);
    const TensorView view(x.data(), DType::kUint8, {100});
    if (mpi.world_rank() == 0) world->send(view, 1).wait();
    if (mpi.world_rank() == 1) world->receive(view.slice(0, 0, 10), 0).wait();
    world->barrier();
  }
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  try {
    retain::run(argc > 1 ? argv[1] : "");
  } catch (const retain::Error& e) {
    std::fprintf(stderr, "rank %d: %s\n", e.exit_code() == 65 ? 1 : -1, e.what());
    retain::MpiEnvironment::abort(e.exit_code());
  }
  return 0;
}
