// A GPU that hangs or fails in the way that the argument names; see watchdog_test.cpp. Exit code 77 without GPUs
// enough.
//   endless   a kernel never ends, and the host waits for what follows it
//   illegal   a kernel writes to where there is no memory
//   peer      rank 1's kernel never ends, and the others wait for it in a collective of NCCL
//   queue     the same, while the host of every rank is held up because its queue of kernels is full
//   stopped   rank 1 is stopped in a collective of NCCL
#include <cuda_runtime.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "parallel/health/watchdog.h"
#include "parallel/mpi/launch.h"
#include "parallel/mpi/mpi_communicator.h"
#include "parallel/nccl/nccl_communicator.h"

namespace retain {
namespace {

constexpr int kSkipped = 77;
constexpr std::chrono::seconds kLimit{3};

__global__ void never_end(const volatile int* stop) {
  while (*stop == 0) {
  }
}

__global__ void write_nowhere() { *reinterpret_cast<volatile int*>(8) = 1; }

int run(const std::string& mode, Communicator& world, Activity& activity, bool launched) {
  const bool culprit = world.rank() == world.size() - 1;
  const auto backend = make_cuda_backend(world.rank(), &activity);
  const auto group = make_nccl_communicator(world, world.rank(), backend->stream(), {.activity = &activity});
  const Buffer memory(*backend, 1024);
  const TensorView numbers(memory.data(), DType::kFloat32, {256});
  const auto on_host = backend->make_host_buffer(numbers.bytes());
  backend->fill(numbers, 0);
  group->all_reduce(numbers, ReduceOp::kSum).wait();
  on_host->begin_copy({&numbers, 1});
  on_host->wait();

  Watchdog watchdog(world, activity, {.timeout = kLimit, .launched = launched});
  const Watchdog::AtEnd at_end(&watchdog, {.let_go = [&] { group->abort(); }});
  activity.at_step(12);
  backend->begin_phase("forward");
  backend->begin_layer(5);
  const auto stream = static_cast<cudaStream_t>(backend->stream());
  if (culprit && mode == "stopped") std::raise(SIGSTOP);
  if (culprit && mode == "illegal") write_nowhere<<<1, 1, 0, stream>>>();
  if (culprit && mode != "illegal" && mode != "stopped")
    never_end<<<1, 1, 0, stream>>>(static_cast<const int*>(memory.data()));
  group->all_reduce(numbers, ReduceOp::kSum).wait();
  for (int many = 0; mode == "queue" && many < 5000; ++many) backend->fill(numbers, 1);
  on_host->begin_copy({&numbers, 1});
  on_host->wait();
  return 0;
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  using namespace retain;
  const std::string mode = argc > 1 ? argv[1] : "";
  Activity activity;
  try {
    if (!(find_launch(std::getenv, mpi_family()).ranks > 1)) {
      return cuda_device_count() < 1 ? kSkipped : run(mode, *make_self_communicator(), activity, false);
    }
    const MpiEnvironment mpi;
    if (cuda_device_count() < mpi.world_size()) return kSkipped;
    return run(mode, *make_mpi_communicator(mpi, kMpiBlockBytes, &activity), activity, true);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(error.exit_code());
  }
}
