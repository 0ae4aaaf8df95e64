#include "launch/doctor/limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/launch/doctor/support.h"

namespace retain::test {
namespace {

using namespace checkup;

constexpr int64_t kGib = int64_t{1} << 30;

LimitFacts ample() {
  LimitFacts facts;
  facts.descriptors = 65536;
  facts.stack_bytes = 8 << 20;
  facts.shared_memory_bytes = 8 * kGib;
  facts.available_bytes = 64 * kGib;
  return facts;
}

std::string with_tight(const char* check, const std::function<void(LimitFacts&)>& tighten, bool gpu = false) {
  LimitFacts facts = ample();
  facts.gpu = gpu;
  ByRank<LimitFacts> ranks = on_ranks(4, facts);
  tighten(ranks[2]);
  return line_of(judge_limits(ranks, pairs_of_ranks(4)), check);
}

TEST(DoctorLimits, AmpleOnesPass) {
  for (const Finding& finding : judge_limits(on_ranks(4, ample()), pairs_of_ranks(4)))
    EXPECT_EQ(finding.verdict, Verdict::kPass) << finding.check << ": " << finding.value;
  EXPECT_EQ(with_tight("address space", [](LimitFacts&) {}), "PASS no limit");
  EXPECT_EQ(with_tight("descriptors", [](LimitFacts&) {}), "PASS 65536 open files");
}

TEST(DoctorLimits, EachThatIsTightIsNamed) {
  const std::string rank = ": rank 2 on gpu1";
  EXPECT_EQ(with_tight("descriptors", [](LimitFacts& l) { l.descriptors = 256; }),
            "WARN few files may be open at once (256 open files)" + rank);
  EXPECT_EQ(with_tight("descriptors", [](LimitFacts& l) { l.descriptors = 16; }).substr(0, 4), "FAIL");
  EXPECT_EQ(with_tight("stack", [](LimitFacts& l) { l.stack_bytes = 512 << 10; }), "WARN small (512 KiB)" + rank);
  EXPECT_EQ(with_tight("stack", [](LimitFacts& l) { l.stack_bytes = 64 << 10; }), "FAIL small (64 KiB)" + rank);
  EXPECT_EQ(with_tight("address space", [](LimitFacts& l) { l.address_bytes = 2'000'000'000; }).substr(0, 4), "WARN");
  EXPECT_EQ(with_tight("address space", [](LimitFacts& l) { l.address_bytes = 600'000'000; }).substr(0, 4), "FAIL");
  EXPECT_EQ(with_tight(
                "address space", [](LimitFacts& l) { l.address_bytes = 64 * kGib; }, true)
                .substr(0, 4),
            "WARN")
      << "CUDA maps more";
  EXPECT_EQ(with_tight(
                "locked memory", [](LimitFacts& l) { l.locked_bytes = 64 << 10; }, true)
                .substr(0, 4),
            "WARN");
  EXPECT_EQ(with_tight("locked memory", [](LimitFacts& l) { l.locked_bytes = 64 << 10; }), "0 lines")
      << "CPUs lock none";
  EXPECT_EQ(
      with_tight("file size", [](LimitFacts& l) { l.file_bytes = 1000, l.largest_file_bytes = 1001; }).substr(0, 4),
      "FAIL");
  EXPECT_EQ(with_tight("/dev/shm", [](LimitFacts& l) { l.shared_memory_bytes = 10'000'000; }),
            "WARN less than the 16 MiB that its 2 ranks may take (10 MB free)" + rank);
  EXPECT_EQ(with_tight(
                "/dev/shm", [](LimitFacts& l) { l.shared_memory_bytes = 64 << 20; }, true)
                .substr(0, 4),
            "WARN");
  EXPECT_EQ(with_tight("memory", [](LimitFacts& l) { l.needed_bytes = 63 * kGib; }),
            "WARN hardly more than the 67.6 GB that its 2 ranks will take (68.7 GB available)" + rank);
  EXPECT_EQ(with_tight("memory", [](LimitFacts& l) { l.needed_bytes = 65 * kGib; }),
            "FAIL less than the 69.8 GB that its 2 ranks will take (68.7 GB available)" + rank);
}

TEST(DoctorLimits, OfThisProcessAreRead) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit tight{.rlim_cur = 200, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const LimitFacts facts = probe_limits();
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(facts.descriptors, 200);
  EXPECT_GT(facts.available_bytes.value_or(0), 0);
}

}  // namespace
}  // namespace retain::test
