// Runs whose numbers go wrong: what is skipped, where they go back to, how they end.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/deferred_backend.h"
#include "tests/support/faulty_backend.h"
#include "tests/trainer/run/run_fixture.h"
#include "trainer/checkpoint/inspect.h"

namespace retain::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kMicroBatches = 4;  // of a step, each with a backward

/// Spoils the gradients of every step from `begin` on until before `end`, by the steps' number in the order of time.
std::unique_ptr<FaultyBackend> spoiled(std::unique_ptr<Backend> inner, int64_t begin, int64_t end,
                                       double value = kNan) {
  auto backend = std::make_unique<FaultyBackend>(std::move(inner));
  backend->in_embedding_gradient = [=](FaultyBackend& b, int64_t count, const TensorView& element) {
    if (count >= (begin - 1) * kMicroBatches && count < (end - 1) * kMicroBatches) b.fill(element, value);
  };
  return backend;
}

class Rollback : public Run {
 protected:
  /// Ten steps, saved every two, that go back after three skips.
  Config config(const std::string& name) const {
    Config config = Run::config(name);
    config.train.tokens = 10 * config.train.batch_tokens;
    config.checkpoint.every = 2;
    config.checkpoint.keep = 10;
    config.numerics.max_skips = 3;
    return config;
  }

  std::string error_of(Backend& backend, const Config& config) const {
    try {
      train(backend, config);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
      return error.what();
    }
    return "";
  }

  /// The tensors of the newest checkpoint, whatever else it says.
  static std::vector<std::array<uint64_t, kStates>> tensors_of(const std::string& run) {
    std::vector<std::array<uint64_t, kStates>> states;
    for (const TensorDigest& tensor : compute_digest(open_unverified(run)).tensors) states.push_back(tensor.states);
    return states;
  }
  static RunState newest(const Config& config) { return open_unverified(config.run.dir).state(); }

  static std::vector<std::string> events(const Config& config, const std::string& kind) {
    std::istringstream lines(read_text(File::open_input(config.run.dir + "/events.jsonl"), 1 << 20));
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);)
      if (line.find("\"event\":\"" + kind + "\"") != std::string::npos) found.push_back(line);
    return found;
  }
};

// Steps 5, 6 and 7 are skipped; the run goes back to 4 and never sees their batches again.
TEST_F(Rollback, GoesBackToTheCheckpointBeforeTheTroubleAndOnWithOtherData) {
  for (const bool behind : {false, true}) {
    SCOPED_TRACE(behind ? "a device that runs behind" : "a device at once");
    const Config config = this->config(behind ? "behind" : "at-once");
    const auto backend = spoiled(behind ? std::make_unique<DeferredBackend>() : make_cpu_backend(1), 5, 8);
    train(*backend, config);
    EXPECT_EQ(events(config, "rollback").size(), 1U);
    EXPECT_EQ(events(config, "skip").size(), 3U);
    const int64_t samples = config.train.batch_tokens / config.data.seq_len;
    EXPECT_EQ(newest(config).step, 10);
    EXPECT_EQ(newest(config).tokens, config.train.tokens);
    EXPECT_EQ(newest(config).next_sample, 13 * samples);

    // The same by hand.
    const auto plain = make_cpu_backend(1);
    const auto mesh = make_single_mesh();
    Trainer trainer(*plain, *mesh, config, kTarget);
    for (int64_t i = 0; i < 10; ++i) {
      Progress done = advance({}, config, i);
      if (i >= 4) done.samples += 3 * samples;
      trainer.step(done, {}, [] {});
    }
    save_state(trainer, directory_.path() + "/by-hand", 10);
    EXPECT_EQ(tensors_of(config.run.dir), tensors_of(directory_.path() + "/by-hand"));
    std::filesystem::remove_all(directory_.path() + "/by-hand");

    // A reader of the metrics is told which lines are void.
    std::vector<int64_t> steps;
    for (const std::string& line : lines_with(config, "step")) {
      const auto json = nlohmann::json::parse(line);
      const int64_t step = json["step"];
      if (json.contains("resume")) std::erase_if(steps, [&](int64_t earlier) { return earlier > step; });
      if (json.contains("loss")) steps.push_back(step);
    }
    EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  }
}

// Killed after it went back, a run goes on as if it had not been.
TEST_F(Rollback, AStartThatFollowsSkipsTheSameData) {
  Config config = this->config("whole");
  train(*spoiled(make_cpu_backend(1), 5, 8), config);
  Config halves = this->config("halves");
  halves.checkpoint.async = false;
  const auto backend = spoiled(make_cpu_backend(1), 5, 8);
  int64_t furthest = 0;
  {
    RunDirectory(halves.run.dir).create();
    const auto mesh = make_single_mesh();
    Log log({.directory = halves.run.dir});
    TrainingRun run(*backend, *mesh, log, halves, kTarget, identity_of(halves), {}, nullptr);
    run.begin();
    struct Killed {};
    EXPECT_THROW(run.run([&] {
      if (run.step() < furthest) throw Killed();  // the first that is asked after the rollback
      furthest = run.step();
      return Wishes{};
    }),
                 Killed);
    EXPECT_EQ(run.step(), 4);
  }
  train(*make_cpu_backend(1), halves);
  EXPECT_EQ(digest_of(halves.run.dir), digest_of(config.run.dir));
}

TEST_F(Rollback, ASecondTimeTheRunEndsAndNamesTensorAndRank) {
  std::string before;
  for (const bool behind : {false, true}) {
    const Config config = this->config(behind ? "behind" : "at-once");
    const auto backend = spoiled(behind ? std::make_unique<DeferredBackend>() : make_cpu_backend(1), 5, 1000);
    const std::string error = error_of(*backend, config);
    EXPECT_EQ(error.find("step 7: 3 updates in a row had no finite gradient; computed once more, the first number of "
                         "that step that is not finite is in the gradient of embeddings.weight in micro-batch 0 on "
                         "rank 0 on host "),
              0U)
        << error;
    EXPECT_EQ(events(config, "rollback").size(), 1U);
    EXPECT_EQ(newest(config).step, 6) << "of the second time, in which nothing was updated";
    EXPECT_EQ(error, behind ? before : error);
    before = error;
  }
}

TEST_F(Rollback, WithoutACheckpointBeforeTheTroubleTheRunEnds) {
  Config config = this->config("from-the-start");
  EXPECT_EQ(error_of(*spoiled(make_cpu_backend(1), 2, 1000), config).find("step 4: 3 updates in a row"), 0U);
  EXPECT_TRUE(events(config, "rollback").empty());
  config = this->config("none-allowed");
  config.numerics.max_rollbacks = 0;
  EXPECT_EQ(error_of(*spoiled(make_cpu_backend(1), 5, 8), config).find("step 7: 3 updates in a row"), 0U);
}

TEST_F(Rollback, ADamagedCheckpointIsPassedOver) {
  Config config = this->config("damaged");
  config.numerics.max_skips = 4;  // after step 8, with checkpoints of 2 and 4 before
  const auto backend = spoiled(make_cpu_backend(1), 5, 9);
  backend->in_loss = [&](FaultyBackend&, int64_t count, const TensorView&) {
    if (count != 5 * kMicroBatches) return;  // in step 6
    std::fstream file(config.run.dir + "/checkpoints/step-00000004/shard-00000-of-00001.h5",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100, std::ios::end);
    file.write("damage", 6);
  };
  config.checkpoint.async = false;
  train(*backend, config);
  ASSERT_EQ(events(config, "rollback").size(), 1U);
  EXPECT_NE(events(config, "rollback").front().find("\"to\":\"2\""), std::string::npos);
  EXPECT_EQ(newest(config).step, 10);
}

// A gradient of one step is a thousand times as long as others.
class SpikedRun : public Rollback {
 protected:
  static constexpr int64_t kSpiked = 40;
  Config config(const std::string& name, OnSpike policy) const {
    Config config = Rollback::config(name);
    config.train.tokens = 45 * config.train.batch_tokens;
    config.optimizer.lr = 1e-3;
    config.checkpoint.every = 15;
    config.numerics.on_spike = policy;
    config.numerics.spike_window = 32;
    return config;
  }
  static std::unique_ptr<FaultyBackend> spiked(std::unique_ptr<Backend> inner) {
    return spoiled(std::move(inner), kSpiked, kSpiked + 1, 1e4);
  }
};

TEST_F(SpikedRun, IsWarnedOfAndOtherwiseAsItWas) {
  const Config config = this->config("warn", OnSpike::kWarn);
  train(*spiked(make_cpu_backend(1)), config);
  ASSERT_EQ(events(config, "spike").size(), 1U);
  EXPECT_NE(events(config, "spike").front().find("step 40: the gradient's norm"), std::string::npos);
}

TEST_F(SpikedRun, SkipsTheStepAsIfItHadNeverBeen) {
  Config config = this->config("skip", OnSpike::kSkip);
  train(*spiked(make_cpu_backend(1)), config);
  EXPECT_EQ(events(config, "skip").size(), 1U);
  const std::string digest = digest_of(config.run.dir);

  const auto plain = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Trainer trainer(*plain, *mesh, config, kTarget);
  for (int64_t i = 0; i < 45; ++i)
    if (i != kSpiked - 1) trainer.step(i, {}, [] {});
  save_state(trainer, directory_.path() + "/by-hand", 45);
  EXPECT_EQ(tensors_of(config.run.dir), tensors_of(directory_.path() + "/by-hand"));

  config.run.dir = directory_.path() + "/behind";
  train(*spiked(std::make_unique<DeferredBackend>()), config);
  EXPECT_EQ(digest_of(config.run.dir), digest);
}

TEST_F(SpikedRun, DecidesAlikeWhenItIsStoppedBetween) {
  const Config whole = this->config("whole", OnSpike::kSkip);
  train(*spiked(make_cpu_backend(1)), whole);
  const Config cut = this->config("cut", OnSpike::kSkip);
  const auto backend = spiked(make_cpu_backend(1));
  RunOutcome outcome = RunOutcome::kStopped;
  for (int lives = 0; outcome == RunOutcome::kStopped && lives < 50; ++lives)
    outcome = train(*backend, cut, {}, [asked = 0]() mutable { return Wishes{.stop = asked++ > 0}; });  // after a step
  EXPECT_EQ(outcome, RunOutcome::kFinished);
  EXPECT_EQ(newest(cut).numerics, newest(whole).numerics);
  EXPECT_EQ(digest_of(cut.run.dir), digest_of(whole.run.dir));
}

TEST_F(SpikedRun, GoesBack) {
  const Config config = this->config("rollback", OnSpike::kRollBack);
  train(*spiked(make_cpu_backend(1)), config);
  ASSERT_EQ(events(config, "rollback").size(), 1U);
  EXPECT_NE(events(config, "rollback").front().find("\"to\":\"30\""), std::string::npos);
  EXPECT_EQ(newest(config).step, 45);
  EXPECT_EQ(newest(config).next_sample, 55 * config.train.batch_tokens / config.data.seq_len);
}

}  // namespace
}  // namespace retain::test
