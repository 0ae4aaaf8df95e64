// Saves of a whole run over backends whose copies to the host are late, or fail.
#include "trainer/run/training_run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>

#include <nlohmann/json.hpp>

#include "tests/support/deferred_backend.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "tests/support/wrapped_backend.h"
#include "trainer/checkpoint/store.h"
#include "trainer/data/token_writer.h"

namespace retain::test {
namespace {

constexpr int64_t kSteps = 5;
constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

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

  static RunOutcome train(Backend& backend, const Config& config, const RunStart& start = {},
                          const Wishes& wishes = {}) {
    RunDirectory(config.run.dir).create();
    const auto mesh = make_single_mesh();
    Log log({.directory = config.run.dir});
    TrainingRun run(backend, *mesh, log, config, kTarget, identity_of(config), start, nullptr);
    run.begin();
    return run.run([&] { return wishes; });
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

TEST_F(Run, AValidationThatPredictsNothingIsNobodysBest) {
  TokenWriter writer(directory_.path() + "/nothing", 257);
  for (const int32_t token : {1, 2, 3}) {  // three documents
    writer.append(std::span(&token, 1));
    writer.end_document();
  }
  writer.finish();
  Config config = this->config("nothing-valid");
  config.data.valid = {{"nothing", directory_.path() + "/nothing"}};
  config.eval.every = 1;
  config.checkpoint.keep_best = 1;
  const auto backend = make_cpu_backend(1);
  train(*backend, config);
  const auto steps = list_steps(checkpoints_directory(config.run.dir));
  ASSERT_EQ(steps.size(), size_t{kSteps});
  for (const StepEntry& step : steps) EXPECT_TRUE(std::isnan(read_manifest(step.path).state.valid_loss));
}

/// What a late copy waits for.
class Updates {
 public:
  void done(int64_t step) {
    const std::scoped_lock lock(mutex_);
    newest_ = step;
    changed_.notify_all();
  }
  int64_t newest() {
    const std::scoped_lock lock(mutex_);
    return newest_;
  }
  /// Until there was an update after `step`, or kSteps are done, or `enough`, which wake() has looked at again.
  template <class Enough>
  void wait_beyond(int64_t step, const Enough& enough) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return newest_ > step || newest_ == kSteps || enough(); });
  }
  void wake() {
    const std::scoped_lock lock(mutex_);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t newest_ = 0;
};

/// Copies as late as the contract allows: in hold_queue(); where that is not called, after the next update.
class LateBuffer final : public HostBuffer {
 public:
  LateBuffer(std::unique_ptr<HostBuffer> inner, Updates& updates) : inner_(std::move(inner)), updates_(updates) {}

  std::byte* data() const override { return inner_->data(); }
  int64_t bytes() const override { return inner_->bytes(); }
  void begin_copy(std::span<const TensorView> tensors) override {
    const std::scoped_lock lock(mutex_);
    tensors_.assign(tensors.begin(), tensors.end());
    begun_after_ = updates_.newest();
    copied_ = false;
  }
  void begin_upload(const TensorView& tensor) override { inner_->begin_upload(tensor); }
  void hold_queue() override {
    copy();
    updates_.wake();
  }
  double wait() override {
    updates_.wait_beyond(begun_after_, [this] { return copied_.load(); });
    copy();
    return 0;
  }

 private:
  void copy() {
    const std::scoped_lock lock(mutex_);
    if (copied_) return;
    inner_->begin_copy(tensors_);
    inner_->wait();
    copied_ = true;
  }

  std::unique_ptr<HostBuffer> inner_;
  Updates& updates_;
  std::mutex mutex_;
  std::vector<TensorView> tensors_;
  std::atomic<int64_t> begun_after_ = 0;
  std::atomic<bool> copied_ = true;
};

class LateBackend final : public WrappedBackend {
 public:
  /// Late with copies of so many bytes.
  explicit LateBackend(int64_t state_bytes) : WrappedBackend(make_cpu_backend(1)), state_bytes_(state_bytes) {}
  bool runs_ahead() const override { return true; }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override {
    std::unique_ptr<HostBuffer> buffer = WrappedBackend::make_host_buffer(bytes);
    if (bytes != state_bytes_) return buffer;
    return std::make_unique<LateBuffer>(std::move(buffer), updates_);
  }

 private:
  void do_adamw(const AdamwArgs& a) override {
    WrappedBackend::do_adamw(a);
    updates_.done(a.step);
  }
  int64_t state_bytes_;
  Updates updates_;
};

TEST_F(Run, SavesInTheBackgroundAreThoseInTheForegroundHoweverLateTheCopyIs) {
  Config foreground = config("foreground");
  foreground.checkpoint.async = false;
  train(*make_cpu_backend(1), foreground);
  const Config background = config("background");
  LateBackend late(state_bytes(background));
  train(late, background);
  const std::vector<std::string> want = digests(foreground);
  ASSERT_EQ(want.size(), static_cast<size_t>(kSteps));
  EXPECT_EQ(digests(background), want);
}

/// The first copies fail, as if the device did.
class FailingBuffer final : public HostBuffer {
 public:
  FailingBuffer(std::unique_ptr<HostBuffer> inner, ErrorKind kind, int failures)
      : inner_(std::move(inner)), kind_(kind), failures_(failures) {}

  std::byte* data() const override { return inner_->data(); }
  int64_t bytes() const override { return inner_->bytes(); }
  void begin_copy(std::span<const TensorView> tensors) override { inner_->begin_copy(tensors); }
  void begin_upload(const TensorView& tensor) override { inner_->begin_upload(tensor); }
  void hold_queue() override { inner_->hold_queue(); }
  double wait() override {
    if (failures_-- > 0) throw Error(kind_, "the copy is lost");
    return inner_->wait();
  }

 private:
  std::unique_ptr<HostBuffer> inner_;
  ErrorKind kind_;
  std::atomic<int> failures_;
};

class FailingBackend final : public WrappedBackend {
 public:
  /// Fails with copies of so many bytes.
  FailingBackend(int64_t state_bytes, ErrorKind kind, int failures = 1)
      : WrappedBackend(make_cpu_backend(1)), state_bytes_(state_bytes), kind_(kind), failures_(failures) {}
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override {
    std::unique_ptr<HostBuffer> buffer = WrappedBackend::make_host_buffer(bytes);
    if (bytes != state_bytes_) return buffer;
    return std::make_unique<FailingBuffer>(std::move(buffer), kind_, failures_);
  }

 private:
  int64_t state_bytes_;
  ErrorKind kind_;
  int failures_;
};

constexpr int kAlways = 1000;

TEST_F(Run, AFolderThatCannotBeMadeForASaveIsAFailedSaveAndNoRunThatCannotBegin) {
  Config config = this->config("run");
  config.checkpoint.async = false;
  config.checkpoint.on_error = OnSaveError::kStop;
  FailingBackend fails(state_bytes(config), ErrorKind::kCannotCreate);
  EXPECT_EQ(kind_of([&] { train(fails, config); }), ErrorKind::kIo);
}

TEST_F(Run, EndsWithTheErrorOfTheDeviceThatASaveSees) {
  for (const bool async : {true, false}) {
    SCOPED_TRACE(async);
    Config config = this->config(async ? "background" : "foreground");
    config.checkpoint.async = async;
    FailingBackend backend(state_bytes(config), ErrorKind::kDevice);
    EXPECT_EQ(kind_of([&] { train(backend, config); }), ErrorKind::kDevice);
  }
}

TEST_F(Run, NeitherFinishesNorStopsWithoutTheCheckpointOfItsLastStep) {
  for (const bool async : {true, false}) {
    for (const bool stop : {true, false}) {
      SCOPED_TRACE(concat(async ? "background" : "foreground", stop ? ", stopped" : ", finished"));
      Config config = this->config(concat("needed", async, stop));
      config.checkpoint.every = 0;
      config.checkpoint.async = async;
      FailingBackend fails(state_bytes(config), ErrorKind::kIo, kAlways);
      EXPECT_EQ(kind_of([&] { train(fails, config, {}, {.stop = stop}); }), ErrorKind::kIo);
      EXPECT_EQ(train(*make_cpu_backend(1), config, {}, {.stop = stop}),
                stop ? RunOutcome::kStopped : RunOutcome::kFinished);
      EXPECT_EQ(digests(config).size(), 1U);
    }
  }
}

TEST_F(Run, GoesOnToItsEndWhenNothingOfItsReportsCanBeWritten) {
  const Config config = this->config("unheard");
  RunDirectory(config.run.dir).create();
  for (const char* const name : {"metrics.jsonl", "log.txt"}) {
    std::filesystem::create_symlink("/dev/full", config.run.dir + "/" + name);
  }
  std::filesystem::remove(config.run.dir + "/tensorboard");
  train(*make_cpu_backend(1), config);
  EXPECT_EQ(digests(config).size(), static_cast<size_t>(kSteps));
}

TEST_F(Run, ThatIsStartedAgainWithTheSameResumeGoesOnFromItsOwnNewestStep) {
  const Config base = config("base");
  train(*make_cpu_backend(1), base);
  const std::string from = base.run.dir + "/checkpoints/step-00000002";
  Config branch = config("branch");
  const auto start = [&](int64_t steps) {
    branch.train.tokens = steps * branch.train.batch_tokens;
    train(*make_cpu_backend(1), branch, {.resume = from});
    return steps_of(branch);
  };
  EXPECT_EQ(start(4), (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(start(5), (std::vector<int64_t>{5, 4, 3}));
  // The checkpoint may be gone by then.
  std::filesystem::remove_all(base.run.dir);
  EXPECT_EQ(start(6), (std::vector<int64_t>{6, 5, 4, 3}));
}

TEST_F(Run, GoesBackToAnOlderStepOfItsOwnOnceThoughItIsStartedTwice) {
  Config config = this->config("back");
  train(*make_cpu_backend(1), config);
  const std::string from = config.run.dir + "/checkpoints/step-00000002";
  const auto starts = [&] { return lines_with(config, "\"resume\":true"); };
  config.train.tokens = 4 * config.train.batch_tokens;
  train(*make_cpu_backend(1), config, {.resume = from});
  EXPECT_EQ(steps_of(config), (std::vector<int64_t>{4, 3, 2, 1}));
  EXPECT_EQ(starts(), (std::vector<std::string>{R"({"step":2,"resume":true,"start":2})"}));
  config.train.tokens = 5 * config.train.batch_tokens;
  train(*make_cpu_backend(1), config, {.resume = from});
  EXPECT_EQ(starts().back(), R"({"step":4,"resume":true,"start":3})");
}

TEST_F(Run, GoesOnAfterASaveThatFailedOtherwise) {
  for (const bool async : {true, false}) {
    Config config = this->config(async ? "background" : "foreground");
    config.checkpoint.async = async;
    FailingBackend backend(state_bytes(config), ErrorKind::kIo);
    train(backend, config);
    EXPECT_EQ(digests(config).size(), static_cast<size_t>(kSteps - 1));
  }
}

TEST_F(Run, DoesNotBeginAnewWhereAnyOfItsRecordsSpeaksOfCheckpoints) {
  const Config config = this->config("lost");
  const Path run = config.run.dir, checkpoints = checkpoints_directory(run);
  const auto backend = make_cpu_backend(1);
  train(*backend, config);
  for (const StepEntry& entry : list_steps(checkpoints)) std::filesystem::remove_all(entry.path);
  const auto expect_refusal = [&](const std::string& record) {
    std::string message;
    try {
      train(*backend, config);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kData);
      message = e.what();
    }
    EXPECT_NE(message.find(record), std::string::npos) << message;
    EXPECT_NE(message.find("--resume never"), std::string::npos) << message;
  };
  expect_refusal("latest names step-00000005");
  std::filesystem::remove(checkpoints / "latest");
  expect_refusal("events.jsonl says that step 5 was saved");
  std::filesystem::remove(run / "events.jsonl");
  write_new_file(run / "DONE", "");
  expect_refusal("DONE says");
  EXPECT_TRUE(digests(config).empty());
  train(*backend, config, {.resume = "never"});
  EXPECT_EQ(digests(config).size(), static_cast<size_t>(kSteps));
}

TEST_F(Run, BeginsAnewAgainWhenWhatBeganAnewWasKilledBeforeItsFirstSave) {
  Config config = this->config("anew");
  const auto backend = make_cpu_backend(1);
  train(*backend, config);
  FailingBackend fails(state_bytes(config), ErrorKind::kDevice);  // under the first save
  EXPECT_EQ(kind_of([&] { train(fails, config, {.resume = "never"}); }), ErrorKind::kDevice);
  EXPECT_TRUE(digests(config).empty()) << "the old ones are set aside";
  train(*backend, config);
  EXPECT_EQ(digests(config).size(), static_cast<size_t>(kSteps));
}

/// What a run leaves that does not depend on time: the values of metrics.jsonl and all checkpoints.
class RunBehind : public Run {
 protected:
  std::vector<std::string> traces(const Config& config) const {
    std::vector<std::string> traces = digests(config);
    for (const std::string& line : lines_with(config, "loss")) {
      auto json = nlohmann::json::parse(line);
      for (const char* const time : {"tokens_per_second", "step_seconds"}) json.erase(time);
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
        train(*backend, config, {}, wishes);
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
  std::fstream file(directory_.path() + "/text.bin", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(1000 * int64_t{sizeof(uint16_t)});
  file.write("\xff\xff", 2);
  file.close();
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
  EXPECT_THROW(train(*backend, config, {}, {}), Error);
  std::ifstream metrics(config.run.dir + "/metrics.jsonl");
  int64_t trained = 0;
  for (std::string line; std::getline(metrics, line);) ++trained;
  const auto steps = list_steps(checkpoints_directory(config.run.dir));
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_GT(trained, 0);
  EXPECT_EQ(read_manifest(steps.front().path).state.step, trained);
}

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
