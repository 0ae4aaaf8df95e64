// Made-up machines: what is said of them, and what is advised.
#include "parallel/placement.h"

#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace retain {
namespace {

using Lines = std::vector<std::string>;

/// So many ranks on each machine, one machine after the other.
Lines hosts_of(const std::vector<int>& ranks) {
  Lines hosts;
  for (size_t i = 0; i < ranks.size(); ++i)
    hosts.insert(hosts.end(), static_cast<size_t>(ranks[i]), concat("gpu", i + 1));
  return hosts;
}

TEST(Placement, TellsWhichRanksShareAMachine) {
  EXPECT_EQ(place_ranks({2, 2, 2}, hosts_of({4, 4})).describe(),
            (Lines{"ranks on 2 machines; within a machine: tp and cp; between machines: dp",
                   "gpu1: ranks 0-3: dp 0, cp 0-1, tp 0-1", "gpu2: ranks 4-7: dp 1, cp 0-1, tp 0-1"}));
  EXPECT_EQ(place_ranks({1, 1, 4}, hosts_of({4})).describe(),
            (Lines{"ranks on 1 machine; within a machine: tp", "gpu1: ranks 0-3: dp 0, tp 0-3"}));
  EXPECT_EQ(place_ranks({1, 4, 1}, hosts_of({3, 1})).describe(),
            (Lines{"ranks on 2 machines; between machines: cp", "gpu1: ranks 0-2: dp 0, cp 0-2",
                   "gpu2: ranks 3: dp 0, cp 3"}));
  EXPECT_EQ(place_ranks({4, 1, 1}, {"a", "b", "a", "b"}).describe(),
            (Lines{"ranks on 2 machines; between machines: dp", "a: ranks 0, 2: dp 0, 2", "b: ranks 1, 3: dp 1, 3"}));
  const Lines many = place_ranks({64, 1, 8}, hosts_of(std::vector<int>(64, 8))).describe();
  ASSERT_EQ(many.size(), 18U);
  EXPECT_EQ(many[16], "gpu16: ranks 120-127: dp 15, tp 0-7");
  EXPECT_EQ(many.back(), "and 48 machines more");
  EXPECT_EQ(place_ranks({3, 1, 1}, hosts_of({2, 1}), {0, 1, 3}).describe(),
            (Lines{"ranks on 2 machines; between machines: dp", "gpu1: ranks 0-1: dp 0-1, GPUs 0-1",
                   "gpu2: ranks 2: dp 2, GPU 3"}));
  EXPECT_EQ(place_ranks({2, 1, 1}, {"a", "a"}, {-1, -1}).describe().back(), "a: ranks 0-1: dp 0-1");
  EXPECT_THROW(place_ranks({2, 1, 1}, {"a"}), Error);
}

TEST(Placement, AnAxisCrossesWhereAGroupOfItHasTwoMachines) {
  // By brute force over all meshes of 12 ranks and a few ways to put these on machines.
  for (const Lines& hosts :
       {hosts_of({12}), hosts_of({6, 6}), hosts_of({5, 7}), hosts_of({4, 4, 4}), hosts_of({1, 11})}) {
    for (int tp = 1; tp <= 12; ++tp) {
      for (int cp = 1; cp * tp <= 12; ++cp) {
        const MeshShape shape{12 / (cp * tp), cp, tp};
        if (shape.ranks() != 12) continue;
        bool dp_crosses = false, cp_crosses = false, tp_crosses = false;
        for (int a = 0; a < 12; ++a) {
          for (int b = 0; b < 12; ++b) {
            const MeshCoordinate at = coordinate_of(shape, a), other = coordinate_of(shape, b);
            if (hosts[static_cast<size_t>(a)] == hosts[static_cast<size_t>(b)]) continue;
            tp_crosses |= at.dp == other.dp && at.cp == other.cp;
            cp_crosses |= at.dp == other.dp && at.tp == other.tp;
            dp_crosses |= at.cp == other.cp && at.tp == other.tp;
          }
        }
        const Placement placement = place_ranks(shape, hosts);
        EXPECT_EQ(placement.tp_crosses, tp_crosses) << shape.describe();
        EXPECT_EQ(placement.cp_crosses, cp_crosses) << shape.describe();
        EXPECT_EQ(placement.dp_crosses, dp_crosses) << shape.describe();
      }
    }
  }
}

TEST(Placement, WarnsWhereTpIsCutAndNeedNotBe) {
  EXPECT_EQ(place_ranks({2, 1, 4}, hosts_of({4, 4})).warning(8), "");
  EXPECT_EQ(place_ranks({3, 1, 4}, hosts_of({6, 6})).warning(8),
            "groups of parallel.tp = 4 ranks are cut between machines, and exchange activations several times a layer "
            "over what joins these; parallel.tp: 2 would keep each on one machine, as would a multiple of 4 ranks on "
            "every machine");
  EXPECT_EQ(place_ranks({1, 1, 16}, hosts_of({8, 8})).warning(16).find("parallel.tp: 8 would") == std::string::npos,
            false);
  for (const std::string& none_but_1 :
       {place_ranks({3, 1, 2}, hosts_of({3, 3})).warning(8),  // no whole pairs of 3
        place_ranks({1, 1, 5}, hosts_of({3, 2})).warning(5), place_ranks({1, 1, 2}, hosts_of({1, 1})).warning(8)}) {
    EXPECT_NE(none_but_1.find("parallel.tp: 1 would keep"), std::string::npos) << none_but_1;
  }
}

}  // namespace
}  // namespace retain
