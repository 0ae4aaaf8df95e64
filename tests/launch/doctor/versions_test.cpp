#include "launch/doctor/versions.h"

#include <gtest/gtest.h>

#include "tests/launch/doctor/support.h"

namespace retain::test {
namespace {

using namespace checkup;

TEST(DoctorVersions, WhatTalksToEachOtherMustBeEqualAndTheRestShould) {
  const Hosts hosts = pairs_of_ranks(4);
  const VersionFacts one{
      {{"retain", "0.1.0 a"}, {"MPI", "Open MPI v4.1.4"}, {"HDF5", "1.10.8"}, {"CUDA driver", "13.0"}}};
  ByRank<VersionFacts> ranks = on_ranks(4, one);
  for (const char* name : {"retain", "MPI", "HDF5", "CUDA driver"})
    EXPECT_EQ(line_of(judge_versions(ranks, hosts), name), "PASS " + one.versions.at(name));
  ranks[3].versions["retain"] = "0.1.0 b";
  ranks[3].versions["HDF5"] = "1.14.0";
  ranks[3].versions.erase("CUDA driver");
  ranks[0].versions["NCCL"] = "2.28.3";
  const Findings findings = judge_versions(ranks, hosts);
  EXPECT_EQ(line_of(findings, "retain"), "FAIL 0.1.0 a on ranks 0-2 on gpu0, gpu1; 0.1.0 b on rank 3 on gpu1");
  EXPECT_EQ(line_of(findings, "HDF5"), "WARN 1.10.8 on ranks 0-2 on gpu0, gpu1; 1.14.0 on rank 3 on gpu1");
  EXPECT_EQ(line_of(findings, "CUDA driver"), "WARN 13.0 on ranks 0-2 on gpu0, gpu1; none on rank 3 on gpu1");
  EXPECT_EQ(line_of(findings, "NCCL"), "FAIL none on ranks 1-3 on gpu0, gpu1; 2.28.3 on rank 0 on gpu0");
  EXPECT_EQ(line_of(findings, "MPI"), "PASS Open MPI v4.1.4");
}

TEST(DoctorVersions, OfThisProgramAreKnown) {
  const auto versions = probe_versions().versions;
  for (const char* name : {"retain", "MPI", "HDF5"})
    EXPECT_TRUE(versions.contains(name) && !versions.at(name).empty()) << name;
}

}  // namespace
}  // namespace retain::test
