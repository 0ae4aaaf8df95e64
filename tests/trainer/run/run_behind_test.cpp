// A device that works while the host does something else is given a step before the one before it has ended: runs on it
// leave what they leave on one that computes at once.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/deferred_backend.h"
#include "tests/trainer/run/run_fixture.h"

namespace retain::test {
namespace {

/// What a run leaves that does not depend on time: the values of metrics.jsonl and all checkpoints.
class RunBehind : public Run {
 protected:
  std::vector<std::string> traces(const Config& config) const {
    std::vector<std::string> traces = digests(config);
    for (const std::string& line : lines_with(config, "loss")) {
      auto json = nlohmann::json::parse(line);
      for (const char* const time : {"tokens_per_second", "step_seconds", "data_share", "time"}) json.erase(time);
      traces.push_back(json.dump());
    }
    return traces;
  }
  /// The same run on a device at once and on one that runs behind. Gives the error that both end with, if any.
  std::string expect_the_same(Config config, const Wishes& wishes = {}) const {
    std::vector<std::string> want;
    std::string error;
    for (const bool behind : {false, true}) {
      config.run.dir = directory_.path() + (behind ? "/behind" : "/at-once");
      const auto backend = behind ? std::make_unique<DeferredBackend>() : make_cpu_backend(1);
      error.clear();
      try {
        train(*backend, config, {}, after_first_step(wishes));
      } catch (const Error& e) {
        error = e.what();
      }
      std::vector<std::string> got = traces(config);
      got.push_back(error);
      if (!behind) want = got;
      EXPECT_EQ(got, want);
      std::filesystem::remove_all(config.run.dir);
    }
    EXPECT_GT(want.size(), 1U);
    return error;
  }
};

TEST_F(RunBehind, LeavesWhatOneAtOnceLeaves) {
  Config config = this->config("");
  config.data.valid = {{"text", directory_.path() + "/text"}};
  config.eval = {.every = 2, .tokens = 256};
  for (const Wishes& wishes : {Wishes{}, Wishes{.stop = true}, Wishes{.save = true}}) {
    config.checkpoint.every = 3;
    EXPECT_EQ(expect_the_same(config, wishes), "");
  }
  config.checkpoint.every = 1;
  EXPECT_EQ(expect_the_same(config), "");
}

TEST_F(RunBehind, DivergesAfterTheSameStep) {
  Config config = this->config("");
  config.train.tokens = 15 * config.train.batch_tokens;
  config.optimizer.lr = 1e30;
  config.optimizer.clip = 0;
  config.checkpoint.every = 4;
  config.checkpoint.async = false;
  EXPECT_NE(expect_the_same(config).find("step 11: 10 updates in a row"), std::string::npos);
}

// One token is of no vocabulary, and every step before its own is done, reported and saved.
TEST_F(RunBehind, LosesNoStepBeforeTheOneWhoseBatchCannotBeLoaded) {
  write_tiny_text(directory_.path(), 2000);  // two epochs
  spoil_token(directory_.path() + "/text", 1000);
  Config config = this->config("");
  config.train.tokens = 15 * config.train.batch_tokens;
  config.checkpoint.async = false;
  for (const int64_t every : {1, 4}) {
    config.checkpoint.every = every;
    EXPECT_NE(expect_the_same(config).find("text.bin: byte 2000: token 1000: found 65535"), std::string::npos);
  }
  // Where no save was due, the last of them is saved before the error ends the run.
  config.checkpoint.every = 0;
  config.run.dir = directory_.path() + "/saved";
  const auto backend = make_cpu_backend(1);
  EXPECT_THROW(train(*backend, config), Error);
  const auto trained = static_cast<int64_t>(lines_with(config, "loss").size());
  EXPECT_GT(trained, 0);
  EXPECT_EQ(steps_of(config), std::vector<int64_t>{trained});
}

}  // namespace
}  // namespace retain::test
