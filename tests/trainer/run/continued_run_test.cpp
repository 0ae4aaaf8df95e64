// Runs that go on under another configuration.
#include <cmath>

#include "tests/trainer/run/run_fixture.h"

namespace retain::test {
namespace {

/// A run of kSteps steps of 256 tokens, gone on with under another configuration.
class ContinuedRun : public Run {
 protected:
  RunState newest(const Config& config) const {
    return read_manifest(list_steps(checkpoints_directory(config.run.dir)).front().path).state;
  }
  /// Goes on from the newest checkpoint, which was written under `before`.
  void go_on(const Config& before, const Config& now, const Target& target = kTarget) {
    const auto backend = make_cpu_backend(1);
    const auto mesh = make_single_mesh();
    Log log({.directory = now.run.dir});
    RunIdentity identity = identity_of(now);
    identity.read_config = identity_of(before).read_config;
    TrainingRun run(*backend, *mesh, log, now, target, identity, {}, nullptr);
    run.begin();
    run.run([] { return Wishes{}; });
  }
};

TEST_F(ContinuedRun, WithAnotherBatchGoesOnFromItsTokensAndItsNextSample) {
  const Config before = config("run");
  train(*make_cpu_backend(1), before);
  Config now = before;
  now.train.batch_tokens = 192;  // of 1280 tokens trained no multiple
  now.train.tokens = 1280 + 400;
  now.train.micro_batch_tokens = 32;
  go_on(before, now);
  const RunState state = newest(now);
  EXPECT_EQ(state.step, kSteps + 3);
  EXPECT_EQ(state.tokens, 1280 + 3 * 192);
  EXPECT_EQ(state.next_sample, 40 + 3 * 6);
  go_on(now, before);  // whose tokens are all trained
  EXPECT_EQ(newest(before).step, kSteps + 3);
}

TEST_F(ContinuedRun, WhereAutoIsAnotherPrecisionHasChanged) {
  const Config before = config("run");
  train(*make_cpu_backend(1), before);
  EXPECT_EQ(newest(before).identity.at("device"), "cpu");
  EXPECT_EQ(newest(before).identity.at("precision"), "fp32");
  Config now = before;
  now.train.tokens += now.train.batch_tokens;
  go_on(before, now, {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1});
  EXPECT_EQ(newest(now).identity.at("precision"), "fp64");
  const std::string events = read_text(File::open_input(now.run.dir + "/events.jsonl"), 1 << 20);
  EXPECT_NE(events.find(R"("event":"changed","from":"fp32","key":"precision","to":"fp64")"), std::string::npos);
}

TEST_F(ContinuedRun, WithLongerSequencesCountsItsSamplesAnew) {
  const Config before = config("run");
  train(*make_cpu_backend(1), before);
  Config now = before;
  now.data.seq_len = 64;
  now.train.tokens += 2 * now.train.batch_tokens;
  go_on(before, now);
  const RunState state = newest(now);
  EXPECT_EQ(state.step, kSteps + 2);
  EXPECT_EQ(state.tokens, 1280 + 512);
  EXPECT_EQ(state.next_sample, 1280 / 64 + 2 * 4);
}

TEST_F(ContinuedRun, WithTheSameBatchInHalvesComputesTheSame) {
  Config whole = config("whole"), half = config("half");
  train(*make_cpu_backend(1), whole);
  half.train.tokens = 2 * half.train.batch_tokens;
  train(*make_cpu_backend(1), half);
  const Config before = half;
  half.train.tokens = whole.train.tokens;
  go_on(before, half);
  EXPECT_EQ(digest_of(half.run.dir), digest_of(whole.run.dir));
}

}  // namespace
}  // namespace retain::test
