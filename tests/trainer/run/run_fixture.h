// A run small enough to be trained many times, and what it leaves.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/store.h"
#include "trainer/run/training_run.h"

namespace retain::test {

inline constexpr int64_t kSteps = 5;
inline constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

/// Nothing before the first step, and then these: they are granted after it.
inline std::function<Wishes()> after_first_step(const Wishes& wishes) {
  return [wishes, polls = 0]() mutable { return polls++ > 0 ? wishes : Wishes{}; };
}

/// A run of kSteps updates with a save after each.
class Run : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_text(directory_.path()); }

  Config config(const std::string& name) const {
    Config config = tiny_config(directory_.path());
    config.optimizer.lr = 0.01;  // so that every step changes everything
    config.schedule.warmup_steps = 1;
    config.train.tokens = kSteps * config.train.batch_tokens;
    config.data.valid.clear();
    config.checkpoint.every = 1;
    config.checkpoint.keep = kSteps;
    config.run.dir = directory_.path() + "/" + name;
    return config;
  }

  static RunOutcome train(
      Backend& backend, const Config& config, const RunStart& start = {},
      const std::function<Wishes()>& poll_wishes = [] { return Wishes{}; }) {
    RunDirectory(config.run.dir).create();
    const auto mesh = make_single_mesh();
    Log log({.directory = config.run.dir});
    TrainingRun run(backend, *mesh, log, config, kTarget, identity_of(config), start, nullptr);
    run.begin();
    return run.run(poll_wishes);
  }

  /// Of what a save is written from.
  static int64_t state_bytes(const Config& config) { return make_plan(config, 1, kTarget).save_bytes; }

  static std::vector<std::string> digests(const Config& config) {
    std::vector<std::string> digests;
    const Path checkpoints = checkpoints_directory(config.run.dir);
    for (const StepEntry& entry : list_steps(checkpoints)) digests.push_back(digest_of(entry.path));
    return digests;
  }

  static std::vector<int64_t> steps_of(const Config& config) {
    std::vector<int64_t> steps;
    for (const StepEntry& entry : list_steps(checkpoints_directory(config.run.dir))) steps.push_back(entry.step);
    return steps;
  }

  /// Lines of metrics.jsonl that hold this text.
  static std::vector<std::string> lines_with(const Config& config, const std::string& text) {
    std::ifstream metrics(config.run.dir + "/metrics.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(metrics, line);) {
      if (line.find(text) != std::string::npos) lines.push_back(line);
    }
    return lines;
  }

  /// Nothing where nothing was thrown.
  template <class F>
  static std::optional<ErrorKind> kind_of(const F& f) {
    try {
      f();
    } catch (const Error& e) {
      return e.kind();
    }
    return std::nullopt;
  }

  TemporaryDirectory directory_;
};

}  // namespace retain::test
