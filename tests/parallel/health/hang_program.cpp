// Hangs in the way that its argument names; see watchdog_test.cpp.
//   spin      rank 1 computes without end, in layer 7 of a phase, while the others wait for it
//   crossed   ranks 0 and 1 wait for a message of each other
//   question  what rank 1 is asked by its watchdog fails, while it waits for nobody
//   killed    rank 1 dies
//   slow      rank 1 takes longer than the limit, in work that may
//   none      none
#include <csignal>
#include <string>
#include <thread>

#include "parallel/health/watchdog.h"
#include "parallel/mpi/launch.h"
#include "parallel/mpi/mpi_communicator.h"

namespace retain {
namespace {

using std::chrono::milliseconds;
constexpr std::chrono::seconds kLimit{3};

void spin() {
  for (volatile int turns = 0;;) turns = turns + 1;
}

void exchange(Communicator& world, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    float x = 1;
    world.all_reduce(TensorView(&x, DType::kFloat32, {1}), ReduceOp::kSum).wait();
    std::this_thread::sleep_for(milliseconds{10});
  }
}

void receive_from_the_other(Communicator& world) {
  int32_t nothing = 0;
  const TensorView view(&nothing, DType::kInt32, {1});
  if (world.rank() < 2) world.receive(view, 1 - world.rank()).wait();
}

void run_rank_1(const std::string& mode, Activity& activity, Communicator& world) {
  if (mode == "spin") {
    activity.at_step(12);
    activity.begin_phase("loss and backward");
    activity.at_layer(7);
    spin();
  }
  if (mode == "killed") std::raise(SIGKILL);
  if (mode == "question") {
    const Activity::Question question(activity,
                                      [] { throw Error(ErrorKind::kDevice, "GPU 3 has fallen off the bus"); });
    spin();
  }
  if (mode == "slow") {
    const LongWork work(activity, "something slow");
    std::this_thread::sleep_for(2 * kLimit);
  }
  if (mode == "crossed") receive_from_the_other(world);
}

int run(const std::string& mode, Communicator& world, Activity& activity, bool launched) {
  const Watchdog watchdog(world, activity, {.timeout = kLimit, .launched = launched});
  exchange(world, 20);
  if (world.rank() == (world.size() > 1 ? 1 : 0)) run_rank_1(mode, activity, world);
  if (mode == "crossed" && world.rank() == 0) receive_from_the_other(world);
  world.barrier();
  return 0;
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  using namespace retain;
  const std::string mode = argc > 1 ? argv[1] : "";
  Activity activity;
  if (!(find_launch(std::getenv, mpi_family()).ranks > 1)) return run(mode, *make_self_communicator(), activity, false);
  const MpiEnvironment mpi;
  return run(mode, *make_mpi_communicator(mpi, kMpiBlockBytes, &activity), activity, true);
}
