// Saves of a whole run over backends whose copies to the host are late, or fail.
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tests/support/wrapped_backend.h"
#include "tests/trainer/run/run_fixture.h"
#include "trainer/data/token_writer.h"

namespace retain::test {
namespace {

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

TEST_F(Run, AValidationThatCannotBeReadEndsARunThatIsSaved) {
  const TemporaryDirectory held;
  write_tiny_text(held.path());
  spoil_token(held.path() + "/text", 40);
  Config config = this->config("spoiled-valid");
  config.data.valid = {{"held", held.path() + "/text"}};
  config.eval.every = 3;
  config.checkpoint.every = 0;
  const auto backend = make_cpu_backend(1);
  EXPECT_THROW(train(*backend, config), SharedError);
  EXPECT_EQ(steps_of(config), std::vector<int64_t>{3});
  EXPECT_TRUE(read_manifest(list_steps(checkpoints_directory(config.run.dir)).front().path).state.validation_due);
}

/// Whose recurrent form is another function.
class OtherRecurrence final : public WrappedBackend {
 public:
  OtherRecurrence(std::unique_ptr<Backend> backend, double value) : WrappedBackend(std::move(backend)), value_(value) {}

 private:
  void do_retention(const RetentionArgs& args) override {
    WrappedBackend::do_retention(args);
    if (args.context.form == RetentionForm::kRecurrent) fill(args.o.slice(1, 3, 1), value_);
  }

  double value_;  // of one of its outputs
};

TEST_F(Run, ComparesTheRecurrentFormAndWarnsWhereItIsAnotherFunction) {
  const auto differences = [&](const std::string& name, Backend& backend) {
    Config config = this->config(name);
    config.data.valid = {{"text", directory_.path() + "/text"}};
    config.eval.every = 1;
    config.eval.tokens = 512;
    config.eval.recurrent_every = 2;
    train(backend, config);
    std::vector<double> found;
    std::ifstream metrics(config.run.dir + "/metrics.jsonl");
    for (std::string text; std::getline(metrics, text);) {
      const auto line = nlohmann::json::parse(text);
      if (!line.contains("valid/text/recurrent_difference")) continue;
      EXPECT_EQ(line["step"].get<int64_t>() % 2, 0);
      const auto& difference = line["valid/text/recurrent_difference"];
      found.push_back(difference.is_null() ? std::nan("") : difference.get<double>());
    }
    return found;
  };
  const auto warned = [&](const std::string& name) {
    const std::string log = read_text(File::open(directory_.path() + "/" + name + "/log.txt"), 1 << 20);
    return log.find("valid/text: in recurrent form the loss of ") != std::string::npos;
  };
  const auto good = make_cpu_backend(1);
  const std::vector<double> small = differences("same", *good);
  ASSERT_EQ(small.size(), 2U);
  for (const double difference : small) EXPECT_LT(std::abs(difference), 1e-4);
  EXPECT_FALSE(warned("same"));
  OtherRecurrence other(make_cpu_backend(1), 0);
  const std::vector<double> large = differences("other", other);
  ASSERT_EQ(large.size(), 2U);
  EXPECT_GT(std::abs(large[1]), 1e-4);
  EXPECT_TRUE(warned("other"));
  OtherRecurrence none(make_cpu_backend(1), std::nan(""));
  const std::vector<double> no_number = differences("none", none);
  ASSERT_EQ(no_number.size(), 2U);
  EXPECT_TRUE(std::isnan(no_number[0]));
  EXPECT_TRUE(warned("none"));
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
    updates_.done(activity().view().step);
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
      EXPECT_EQ(kind_of([&] { train(fails, config, {}, after_first_step({.stop = stop})); }), ErrorKind::kIo);
      EXPECT_EQ(train(*make_cpu_backend(1), config, {}, after_first_step({.stop = stop})),
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

// A run that an older release began keeps its order of samples; one of a newer release is refused.
TEST_F(Run, KeepsTheOrderOfSamplesThatItBeganWith) {
  Config config = this->config("order");
  const auto backend = make_cpu_backend(1);
  const auto newest = [&] { return list_steps(checkpoints_directory(config.run.dir)).front().path; };
  const auto say_order = [&](int order) {
    Manifest manifest = read_manifest(newest());
    EXPECT_EQ(manifest.state.data_order, static_cast<int>(DataOrder::kEven));
    manifest.state.data_order = order;
    std::ofstream(newest() / "manifest.json") << to_text(manifest);
  };
  train(*backend, config);
  config.train.tokens *= 2;
  say_order(1);
  train(*backend, config);
  EXPECT_EQ(read_manifest(newest()).state.step, 2 * kSteps);
  EXPECT_EQ(read_manifest(newest()).state.data_order, 1);

  config.run.dir += "-newer";
  train(*backend, config);
  config.train.tokens *= 2;
  say_order(3);
  try {
    train(*backend, config);
    ADD_FAILURE() << "samples in an order that nobody knows";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kData);
    EXPECT_NE(std::string(e.what()).find("newer release"), std::string::npos) << e.what();
  }
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

}  // namespace
}  // namespace retain::test
