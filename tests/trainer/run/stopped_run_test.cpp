// A run that is asked to stop, wherever it is, ends with a checkpoint of its last step; started again it comes to what
// it would have come to without.
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/deferred_backend.h"
#include "tests/trainer/run/run_fixture.h"

namespace retain::test {
namespace {

class StoppedRun : public Run {
 protected:
  Config config(const std::string& name) const {
    Config config = Run::config(name);
    config.data.valid = {{"text", directory_.path() + "/text"}};
    config.eval = {.every = 2, .tokens = 256};
    config.checkpoint.every = 3;
    return config;
  }
  /// Asks at the poll of this number, from 0, and ever after. How many polls there were.
  int train_until(Backend& backend, const Config& config, int poll, const Wishes& wish, RunOutcome& outcome) const {
    int polls = 0;
    outcome = train(backend, config, {}, [&] { return polls++ >= poll ? wish : Wishes{}; });
    return polls;
  }
  /// Losses of steps and of validations, each once, without times.
  static std::multiset<std::string> records(const Config& config) {
    std::multiset<std::string> records;
    for (const std::string& line : lines_with(config, "loss")) {
      auto json = nlohmann::json::parse(line);
      for (const char* const name : {"tokens_per_second", "step_seconds", "data_share", "time", "start"})
        json.erase(name);
      records.insert(json.dump());
    }
    return records;
  }
  static std::string newest_digest(const Config& config) {
    const auto steps = list_steps(checkpoints_directory(config.run.dir));
    return steps.empty() ? "" : digest_of(steps.front().path);
  }
};

const Wishes kStop{.stop = true, .save = false, .reason = "SIGUSR1"};

TEST_F(StoppedRun, ComesToTheSameWhereverItWasAskedToStop) {
  for (const bool async : {true, false}) {
    Config whole = config("whole");
    whole.checkpoint.async = async;
    RunOutcome outcome{};
    const int polls = train_until(*make_cpu_backend(1), whole, 1'000'000, {}, outcome);
    ASSERT_EQ(outcome, RunOutcome::kFinished);
    ASSERT_GT(polls, 2 * kSteps);  // in evaluations too
    for (int poll = 0; poll <= polls; ++poll) {
      Config cut = whole;
      cut.run.dir = directory_.path() + "/cut";
      train_until(*make_cpu_backend(1), cut, poll, kStop, outcome);
      EXPECT_EQ(outcome == RunOutcome::kFinished, poll == polls) << poll;
      const auto trained = lines_with(cut, "grad_norm").size();
      const auto saved = steps_of(cut);
      EXPECT_EQ(trained, saved.empty() ? 0U : static_cast<size_t>(saved.front())) << "poll " << poll;
      train(*make_cpu_backend(1), cut);
      EXPECT_EQ(records(cut), records(whole)) << "poll " << poll;
      EXPECT_EQ(newest_digest(cut), newest_digest(whole)) << "poll " << poll;
      const auto newest = list_steps(checkpoints_directory(cut.run.dir)).front();
      EXPECT_FALSE(read_manifest(newest.path).state.validation_due);
      EXPECT_TRUE(std::isfinite(read_manifest(newest.path).state.valid_loss));
      std::filesystem::remove_all(cut.run.dir);
    }
    std::filesystem::remove_all(whole.run.dir);
  }
}

TEST_F(StoppedRun, TrainsNoStepThatComesAfterTheWish) {
  for (const bool behind : {false, true}) {
    const Config config = this->config(behind ? "behind" : "at-once");
    const auto backend = behind ? std::make_unique<DeferredBackend>() : make_cpu_backend(1);
    RunOutcome outcome{};
    train_until(*backend, config, 0, kStop, outcome);
    EXPECT_EQ(outcome, RunOutcome::kStopped);
    EXPECT_TRUE(steps_of(config).empty());
    train_until(*backend, config, 1, kStop, outcome);
    EXPECT_EQ(steps_of(config), std::vector<int64_t>{1});
  }
}

TEST_F(StoppedRun, SaysWhoAskedAndWhatItCameTo) {
  const Config config = this->config("said");
  RunOutcome outcome{};
  train_until(*make_cpu_backend(1), config, 3, kStop, outcome);
  const RunDirectory directory(config.run.dir);
  const auto last = nlohmann::json::parse(directory.last_lines("events.jsonl").back());
  EXPECT_EQ(last["event"], "stop");
  EXPECT_EQ(last["code"], "75");
  EXPECT_EQ(last["reason"], "asked to stop: SIGUSR1");
  EXPECT_EQ(last["checkpoint"], directory.checkpoints() + "/" + step_name(last["step"]));
  const std::string line = directory.last_lines("log.txt").back();
  EXPECT_NE(line.find("info: ended with exit code 75: asked to stop: SIGUSR1; "), std::string::npos) << line;
}

TEST_F(StoppedRun, SavesOnceForAWishThatComesInAnEvaluation) {
  Config config = this->config("saved");
  config.checkpoint.every = 0;
  config.eval.every = 2;
  int polls = 0;
  std::vector<int64_t> before;
  // The third poll is the first of the evaluation after step 2; the wish is granted after step 3.
  train(*make_cpu_backend(1), config, {}, [&] { return Wishes{.save = polls++ == 3}; });
  EXPECT_EQ(steps_of(config), (std::vector<int64_t>{kSteps, 3}));
}

TEST_F(StoppedRun, EndsInTimeByTheClock) {
  const Config config = this->config("limited");
  RunDirectory(config.run.dir).create();
  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Log log({.directory = config.run.dir});
  const RunStart start{.limit = TimeLimit{std::chrono::steady_clock::now() + std::chrono::seconds{5}, "the test"}};
  TrainingRun run(*backend, *mesh, log, config, kTarget, identity_of(config), start, nullptr);
  run.begin();
  EXPECT_EQ(run.run([] { return Wishes{}; }), RunOutcome::kStopped);
  log.flush(std::chrono::seconds{10});
  const auto last = nlohmann::json::parse(RunDirectory(config.run.dir).last_lines("events.jsonl").back());
  EXPECT_NE(last["reason"].get<std::string>().find("asked to stop: the limit of wall time: "), std::string::npos);
}

}  // namespace
}  // namespace retain::test
