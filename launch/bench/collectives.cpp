// retain bench collectives: what the ranks of a launcher exchange in a second, in place, over the run's
// communicator (NCCL on GPUs, MPI on CPUs).
#include <array>

#include "launch/bench/report.h"
#include "launch/failure.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"

namespace retain {

namespace {

using bench::Collective;
using bench::Report;

constexpr int64_t kSmallestBytes = int64_t{64} << 10;
constexpr std::array<const char*, 3> kNames = {"all_reduce", "all_gather", "reduce_scatter"};

// One call of a small collective is shorter than the noise of a timer.
int calls_of(int64_t bytes) { return bytes <= (1 << 20) ? 20 : bytes <= (64 << 20) ? 5 : 1; }

void exchange(Communicator& world, Collective collective, const TensorView& whole, const TensorView& mine) {
  switch (collective) {
    case Collective::kAllReduce: return world.all_reduce(whole, ReduceOp::kSum).wait();
    case Collective::kAllGather: return world.all_gather(whole, mine).wait();
    case Collective::kReduceScatter: return world.reduce_scatter(mine, whole).wait();
  }
}

int measure(Session& session, const bench::Operand& operand, const BenchCollectivesOptions& options,
            const Target& target) {
  Communicator& world = session.mesh().replicas();  // all ranks
  const int ranks = world.size();

  Report report("collectives", {{"collective"}, {"bytes"}, {"us", 1}, {"algorithm_gb_per_s", 2}, {"bus_gb_per_s", 2}});
  bench::describe(report, session.backend(), target);
  report.fact("communicator", world.name());
  report.fact("ranks", ranks);
  report.fact("formula",
              "algorithm = bytes of the whole buffer / time; bus = algorithm x (n-1)/n, twice that for all_reduce");

  for (const Collective collective : {Collective::kAllReduce, Collective::kAllGather, Collective::kReduceScatter}) {
    for (int64_t bytes = kSmallestBytes; bytes <= options.max_bytes; bytes *= 4) {
      const int64_t part = bytes / dtype_bytes(target.compute) / ranks;
      const TensorView whole(operand.view.data, target.compute, {ranks, part});
      session.backend().fill(whole, 0);  // sums of zeros stay finite however often they are taken
      const TensorView mine = whole.slice(0, world.rank(), 1).reshaped({part});
      session.mesh().host().barrier();
      double ms = bench::median_ms(session.backend(), options.repeats, calls_of(bytes),
                                   [&] { exchange(world, collective, whole, mine); });
      session.mesh().host().all_reduce(TensorView(&ms, DType::kFloat64, {1}), ReduceOp::kMax).wait();
      const double rate = static_cast<double>(whole.bytes()) / (ms * 1e6);
      report.row({kNames[static_cast<size_t>(collective)], whole.bytes(), ms * 1e3, rate,
                  rate * bench::bus_factor(collective, ranks)});
    }
  }
  if (world.rank() == 0) report.print(options.json);
  return 0;
}

}  // namespace

int bench_collectives(const BenchCollectivesOptions& options, const MpiEnvironment* mpi) {
  std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const int ranks = host->size();
  if (ranks < 2) {
    throw Error(ErrorKind::kUsage, "bench collectives needs two ranks or more: mpirun -n 2 retain bench collectives");
  }
  Config config;
  config.device = options.device;
  config.precision = options.precision;
  const Target target = agree_on_target(*host, config, cuda_device_count() > 0, threads_per_rank(local_place(mpi)));
  Activity activity;
  Session session(target, {.dp = ranks, .cp = 1, .tp = 1}, mpi, std::move(host), activity);
  // Outside of what may fail: to free it waits for the device.
  const bench::Operand operand =
      bench::make_operand(session.backend(), target.compute, {options.max_bytes / dtype_bytes(target.compute)});
  return run_to_exit_code(mpi, [&] { return measure(session, operand, options, target); },
                          {.let_go = [&] { session.mesh().abort(); }});
}

}  // namespace retain
