#include "launch/doctor/network.h"

#include <gtest/gtest.h>

#include "tests/launch/doctor/support.h"
#include "tests/support/ranks.h"

namespace retain::test {
namespace {

using namespace checkup;

TEST(DoctorNetwork, AnMpiWithoutThreadsIsRefused) {
  const Hosts hosts = pairs_of_ranks(2);
  ByRank<MpiFacts> ranks = on_ranks(2, MpiFacts{.thread_level = "funneled", .launcher = "srun"});
  EXPECT_EQ(line_of(judge_mpi(ranks, hosts), "threading"), "PASS threads: funneled; started by srun");
  ranks[1].thread_level = "single";
  EXPECT_EQ(line_of(judge_mpi(ranks, hosts), "threading"), "FAIL MPI lets no process have threads: rank 1 on gpu0");
  EXPECT_EQ(line_of(judge_mpi({{0, MpiFacts{}}}, pairs_of_ranks(1)), "threading"),
            "PASS not used: one process, without a launcher");
}

TEST(DoctorNetwork, ClocksThatAreApartAreNamed) {
  const Hosts hosts = pairs_of_ranks(6);
  EXPECT_EQ(line_of(judge_clocks({}, pairs_of_ranks(2)), "clocks"), "PASS one machine, one clock");
  EXPECT_EQ(line_of(judge_clocks({{2, {0.002, 1e-4}}, {4, {-0.9, 1e-4}}}, hosts), "clocks"),
            "PASS 2 to 900 ms apart from rank 0's");
  EXPECT_EQ(line_of(judge_clocks({{2, {5, 1e-4}}, {4, {0, 1e-4}}}, hosts), "clocks"),
            "WARN this machine's clock is ahead of rank 0's (5 s): rank 2 on gpu1");
  EXPECT_EQ(line_of(judge_clocks({{2, {-3600, 1e-4}}, {4, {0, 1e-4}}}, hosts), "clocks"),
            "FAIL this machine's clock is behind rank 0's (3600 s): rank 2 on gpu1");
}

TEST(DoctorNetwork, AClockIsReadToHalfOfTheShortestRoundTrip) {
  const Hosts hosts({"a", "a", "b", "b", "c"});
  run_ranks(5, [&](Communicator& host) {
    double time = 0;
    // Rank 0's clock ticks whenever it is looked at; those of b and c stand a minute ahead and an hour behind.
    const Clock clock = [&] { return host.rank() == 0 ? time += 0.001 : host.rank() == 2 ? 60.0 : -3600.0; };
    const ByRank<ClockReading> readings = read_clocks(host, hosts, clock);
    ASSERT_EQ(readings.size(), host.rank() == 0 ? 2U : 0U);
    if (host.rank() != 0) return;
    EXPECT_NEAR(readings.at(2).ahead_seconds, 60, 0.05);
    EXPECT_NEAR(readings.at(4).ahead_seconds, -3600, 0.1);
    EXPECT_NEAR(readings.at(4).round_trip_seconds, 0.001, 1e-9);
  });
}

ExchangeFacts exchanged(double bus, double neighbour, int links = 18, const char* over = "nccl") {
  return {.communicator = over,
          .set_up_seconds = 1,
          .bus_gigabytes = bus,
          .neighbour_gigabytes = neighbour,
          .nvlinks = links};
}

TEST(DoctorNetwork, SlowExchangesAreComparedWithWhatTheirLinksGive) {
  const Hosts one({"a", "a"}), two({"a", "b"});
  const auto judged = [](double bus, int links, const Hosts& hosts, const char* over = "nccl") {
    return line_of(judge_exchange(on_ranks(2, exchanged(bus, bus, links, over)), hosts), "all-reduce");
  };
  EXPECT_EQ(judged(300, 18, one), "PASS 300 GB/s of bus bandwidth over nccl");
  EXPECT_EQ(judged(50, 18, one), "WARN slower than the 100 GB/s that this kind of link gives (50 GB/s): all 2 ranks");
  EXPECT_EQ(judged(20, 0, one), "PASS 20 GB/s of bus bandwidth over nccl");
  EXPECT_EQ(judged(2, 0, one), "WARN slower than the 5 GB/s that this kind of link gives (2 GB/s): all 2 ranks");
  EXPECT_EQ(judged(40, 18, two), "PASS 40 GB/s of bus bandwidth over nccl");
  EXPECT_EQ(judged(1, 18, two), "WARN slower than the 5 GB/s that this kind of link gives (1 GB/s): all 2 ranks");
  EXPECT_EQ(judged(0.5, 0, one, "mpi"), "PASS 0.5 GB/s of bus bandwidth over mpi");
  EXPECT_EQ(judged(0.001, 0, one, "mpi").substr(0, 4), "WARN");
  EXPECT_EQ(line_of(judge_exchange({{0, exchanged(0, 0)}}, pairs_of_ranks(1)), "all-reduce"),
            "PASS one rank: nothing to exchange");
}

TEST(DoctorNetwork, ASlowLinkAndASlowSetUpAreNamed) {
  const Hosts hosts = pairs_of_ranks(6);  // links inside: 0, 2, 4; between: 1, 3
  ByRank<ExchangeFacts> ranks = on_ranks(6, exchanged(40, 200));
  ranks[1].neighbour_gigabytes = ranks[3].neighbour_gigabytes = 40;
  ranks[5].neighbour_gigabytes = 0;
  EXPECT_EQ(line_of(judge_exchange(ranks, hosts), "links"), "PASS 40 to 200 GB/s from each rank to the next");
  ranks[4].neighbour_gigabytes = 90;
  EXPECT_EQ(line_of(judge_exchange(ranks, hosts), "links"),
            "WARN the link to the next rank (rank 5 on gpu2) is slower than the median of 200 GB/s (90 GB/s): rank 4 "
            "on gpu2");
  ranks[4].neighbour_gigabytes = 200;
  ranks[3].neighbour_gigabytes = 5;
  EXPECT_EQ(line_of(judge_exchange(ranks, hosts), "links"),
            "WARN the link to the next rank (rank 4 on gpu2) is slower than the median of 22.5 GB/s (5 GB/s): rank 3 "
            "on gpu1");
  ranks[2].set_up_seconds = 40;
  EXPECT_EQ(line_of(judge_exchange(ranks, hosts), "NCCL set-up"),
            "WARN the group of all ranks took long to set up (40 s): rank 2 on gpu1");
}

TEST(DoctorNetwork, RanksOfThisMachineExchange) {
  for (const int ranks : {1, 2, 3}) {
    run_ranks(ranks, [&](Communicator& host) {
      const auto backend = make_cpu_backend(1);
      const auto world = host.split(0, host.rank());
      const ExchangeFacts facts = probe_exchange(*backend, *world, host);
      EXPECT_EQ(facts.bus_gigabytes > 0, ranks > 1);
      EXPECT_EQ(facts.neighbour_gigabytes > 0, host.rank() + 1 < ranks);
    });
  }
}

}  // namespace
}  // namespace retain::test
