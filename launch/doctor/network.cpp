#include "launch/doctor/network.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "launch/bench/report.h"
#include "parallel/mpi/mpi_facts.h"

namespace retain::checkup {

namespace {

constexpr const char* kGroup = "network";

constexpr int kPings = 20;
constexpr double kClocksDiffer = 1, kClocksAreWrong = 30;  // seconds

// Gigabytes a second below which something is wrong, of what moves each rank's bytes: NVLink gives 100 and more from
// four links on, PCIe 4.0 20, and a network for training at least 5 a rank (40 Gb/s Ethernet).
constexpr double kSlowNvlink = 100, kSlowPcie = 5, kSlowNetwork = 5, kSlowHosts = 0.02;
constexpr double kSlowSetUp = 15;      // seconds
constexpr double kBesideOthers = 0.5;  // of the median of links of the same kind

constexpr const char* kNetworkHelp =
    "retain bench collectives shows it by size; NCCL_DEBUG=INFO says which transport NCCL took, NCCL_SOCKET_IFNAME and "
    "NCCL_IB_HCA choose the network";

}  // namespace

MpiFacts probe_mpi() {
  MpiFacts facts{.thread_level = mpi_thread_level(), .launcher = ""};
  if (std::getenv("SLURM_STEP_ID") && std::getenv("SLURM_PROCID") && !std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE"))
    facts.launcher = "srun";
  else if (std::getenv("OMPI_COMM_WORLD_SIZE"))
    facts.launcher = "mpirun";
  else if (std::getenv("PMIX_RANK") || std::getenv("PMI_RANK"))
    facts.launcher = "another launcher";
  return facts;
}

Findings judge_mpi(const ByRank<MpiFacts>& ranks, const Hosts& hosts) {
  Check check(kGroup, "threading");
  std::string level, launcher;
  for (const auto& [rank, facts] : ranks) {
    level = facts.thread_level;
    launcher = facts.launcher;
    if (facts.thread_level == "single")
      check.amiss(rank, Verdict::kFail, "MPI lets no process have threads",
                  "build or load an MPI with MPI_THREAD_FUNNELED");
  }
  return check.findings(hosts, level.empty() ? "not used: one process, without a launcher"
                                             : fmt::format("threads: {}; started by {}", level,
                                                           launcher.empty() ? "an unknown launcher" : launcher));
}

ByRank<ClockReading> read_clocks(Communicator& host, const Hosts& hosts, const Clock& clock) {
  ByRank<ClockReading> readings;
  for (const auto& [name, ranks] : hosts.machines()) {
    const int other = ranks.front();
    if (other == 0) continue;
    double there = 0;
    const TensorView message(&there, DType::kFloat64, {1});
    for (int ping = 0; ping < kPings; ++ping) {
      if (host.rank() == 0) {
        const double begin = clock();
        host.send(message, other).wait();
        host.receive(message, other).wait();
        const double end = clock(), trip = end - begin;
        if (ping > 0 && trip >= readings[other].round_trip_seconds) continue;
        readings[other] = {.ahead_seconds = there - (begin + end) / 2, .round_trip_seconds = trip};
      } else if (host.rank() == other) {
        host.receive(message, 0).wait();
        there = clock();
        host.send(message, 0).wait();
      }
    }
  }
  return readings;
}

Findings judge_clocks(const ByRank<ClockReading>& ranks, const Hosts& hosts) {
  if (ranks.empty()) return {{Verdict::kPass, kGroup, "clocks", "one machine, one clock"}};
  Check check(kGroup, "clocks");
  ByRank<double> apart;
  for (const auto& [rank, reading] : ranks) {
    const double ahead = reading.ahead_seconds;
    apart[rank] = std::abs(ahead) * 1e3;
    if (std::abs(ahead) < kClocksDiffer) continue;
    check.amiss(rank, std::abs(ahead) < kClocksAreWrong ? Verdict::kWarn : Verdict::kFail,
                ahead > 0 ? "this machine's clock is ahead of rank 0's" : "this machine's clock is behind rank 0's",
                "synchronise the clocks: chronyc tracking, timedatectl", std::abs(ahead), "s");
  }
  return check.findings(hosts, describe_range(apart, "ms apart from rank 0's"));
}

namespace {

/// Seconds of one call, of several after one that sets up what is needed.
double time_of(Backend& backend, int calls, const std::function<void()>& work) {
  work();
  const auto timer = backend.make_timer();
  timer->start();
  for (int i = 0; i < calls; ++i) work();
  timer->stop();
  return std::max(timer->elapsed_ms() * 1e-3, 1e-9) / calls;
}

/// To the next rank, first from all even ranks, then from all odd ones.
double time_to_neighbour(Backend& backend, Communicator& world, Communicator& host, const TensorView& x, int calls) {
  double seconds = 0;
  for (const int first : {0, 1}) {
    const bool sends = world.rank() % 2 == first && world.rank() + 1 < world.size();
    const bool receives = world.rank() % 2 != first && world.rank() > 0;
    host.barrier();
    const double taken = sends || receives ? time_of(backend, calls,
                                                     [&] {
                                                       sends ? world.send(x, world.rank() + 1).wait()
                                                             : world.receive(x, world.rank() - 1).wait();
                                                     })
                                           : 0;
    if (sends) seconds = taken;
  }
  return seconds;
}

}  // namespace

ExchangeFacts probe_exchange(Backend& backend, Communicator& world, Communicator& host) {
  const bool cuda = backend.device() == Device::kCuda;
  const int ranks = world.size(), calls = cuda ? 10 : 3;
  ExchangeFacts facts;
  facts.communicator = world.name();
  if (ranks == 1) return facts;
  const int64_t elements = (cuda ? int64_t{64} << 20 : int64_t{1} << 20) / ranks * ranks;
  const bench::Operand x = bench::make_operand(backend, DType::kFloat32, {elements});
  backend.fill(x.view, 0);
  const double bytes = static_cast<double>(x.view.bytes());
  host.barrier();
  double seconds = time_of(backend, calls, [&] { world.all_reduce(x.view, ReduceOp::kSum).wait(); });
  host.all_reduce(TensorView(&seconds, DType::kFloat64, {1}), ReduceOp::kMax).wait();
  facts.bus_gigabytes = bytes * bench::bus_factor(bench::Collective::kAllReduce, ranks) / seconds * 1e-9;
  const double to_next = time_to_neighbour(backend, world, host, x.view, calls);
  if (to_next > 0) facts.neighbour_gigabytes = bytes / to_next * 1e-9;
  return facts;
}

namespace {

/// The links from each rank to the next, of those between machines or of those inside of one.
void judge_links(Check& check, const ByRank<ExchangeFacts>& ranks, const Hosts& hosts, bool between) {
  ByRank<double> rates;
  for (const auto& [rank, facts] : ranks) {
    const bool crosses = rank + 1 < hosts.ranks() && hosts.of(rank) != hosts.of(rank + 1);
    if (facts.neighbour_gigabytes > 0 && crosses == between) rates[rank] = facts.neighbour_gigabytes;
  }
  const double median = median_of(rates);
  for (const auto& [rank, rate] : rates) {
    if (rate >= kBesideOthers * median) continue;
    check.amiss(rank, Verdict::kWarn,
                fmt::format("the link to the next rank ({}) is slower than the median of {:.3g} GB/s",
                            hosts.describe({rank + 1}), median),
                between ? "look at the cables, ports and switches between these machines"
                        : "look at nvidia-smi topo -m and nvidia-smi nvlink -s there",
                rate, "GB/s");
  }
}

}  // namespace

Findings judge_exchange(const ByRank<ExchangeFacts>& ranks, const Hosts& hosts) {
  if (ranks.empty() || hosts.ranks() == 1)
    return {{Verdict::kPass, kGroup, "all-reduce", "one rank: nothing to exchange"}};
  const bool nccl = ranks.begin()->second.communicator == "nccl", one = hosts.machines().size() == 1;
  int links = std::numeric_limits<int>::max();
  ByRank<double> set_up, bus;
  for (const auto& [rank, facts] : ranks) {
    links = std::min(links, facts.nvlinks);
    set_up[rank] = facts.set_up_seconds;
    bus[rank] = facts.bus_gigabytes;
  }
  const double enough = !nccl ? kSlowHosts : !one ? kSlowNetwork : links > 0 ? kSlowNvlink : kSlowPcie;
  Check start(kGroup, nccl ? "NCCL set-up" : "set-up"), reduce(kGroup, "all-reduce"), neighbours(kGroup, "links");
  for (const auto& [rank, facts] : ranks) {
    if (facts.set_up_seconds > kSlowSetUp)
      start.amiss(rank, Verdict::kWarn, "the group of all ranks took long to set up",
                  "NCCL_DEBUG=INFO says where; NCCL_SOCKET_IFNAME names the network that all machines share",
                  facts.set_up_seconds, "s");
    if (facts.bus_gigabytes < enough)
      reduce.amiss(rank, Verdict::kWarn,
                   fmt::format("slower than the {:.3g} GB/s that this kind of link gives", enough), kNetworkHelp,
                   facts.bus_gigabytes, "GB/s");
  }
  for (const bool between : {false, true}) judge_links(neighbours, ranks, hosts, between);
  ByRank<double> to_next;
  for (const auto& [rank, facts] : ranks) {
    if (facts.neighbour_gigabytes > 0) to_next[rank] = facts.neighbour_gigabytes;
  }
  Findings findings = start.findings(hosts, describe_range(set_up, "s"));
  append(findings, reduce.findings(
                       hosts, describe_range(bus, "GB/s of bus bandwidth over ") + ranks.begin()->second.communicator));
  append(findings, neighbours.findings(hosts, describe_range(to_next, "GB/s from each rank to the next")));
  return findings;
}

}  // namespace retain::checkup
