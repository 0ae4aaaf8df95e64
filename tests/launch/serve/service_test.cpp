// Requests that come from many threads to one engine.
#include "launch/serve/service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "launch/serve/completion.h"
#include "launch/serve/completions.h"
#include "tests/support/tiny_run.h"
#include "trainer/model/parameters.h"

namespace retain::test {
namespace {

/// Continues until somebody has enough.
struct Endless : Sequence {
  Endless() {
    prompt = {1, 2, 3};
    max_tokens = int64_t{1} << 40;
  }
  bool on_token(int32_t, const Decoder::Scored&) override {
    ++tokens;
    if (breaks) throw Error(ErrorKind::kDevice, "the device is gone");
    return true;
  }
  void on_end(SequenceEnd how, const std::string& why) override {
    failed = how == SequenceEnd::kFailed;
    reason = why;
    ended = true;
  }
  void wait_for_tokens() const {
    while (tokens == 0) std::this_thread::yield();
  }
  void wait_for_end() const {
    while (!ended) std::this_thread::yield();
  }

  std::atomic<int64_t> tokens = 0;
  std::atomic<bool> breaks = false, ended = false;
  bool failed = false;
  std::string reason;
};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() { parameters_.initialize(3); }

  const ModelConfig model_ = tiny_config("").model;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend(1);
  const ParameterLayout layout_{model_, 0, 1, 1};
  ParameterStore parameters_{*backend_, layout_, DType::kFloat32, ReplicaShare(), Residency::kInference};
  Decoder decoder_{*backend_, parameters_, model_, DType::kFloat32, 2};
  Engine engine_{decoder_, std::vector<uint8_t>(static_cast<size_t>(model_.vocab_size), 1), std::nullopt};
};

TEST_F(ServiceTest, TakesAsManyAsItSaysAndForgetsThoseThatLeave) {
  Service service(engine_, 3);
  for (int turn = 0; turn < 20; ++turn) {
    Endless one, two, waits, fourth;
    const Service::Stay a(service, {&one}), b(service, {&two});
    one.wait_for_tokens();
    two.wait_for_tokens();
    {
      const Service::Stay c(service, {&waits}), d(service, {&fourth});
      EXPECT_EQ(c.entry(), Service::Entry::kTaken);
      EXPECT_EQ(d.entry(), Service::Entry::kFull);
      EXPECT_EQ(service.state().requests, 3);
    }
    EXPECT_EQ(service.state().requests, 2);
    EXPECT_EQ(waits.tokens, 0) << "there were two slots";
  }
  EXPECT_TRUE(service.wait_until_empty(std::chrono::seconds(0)));
}

TEST_F(ServiceTest, RefusesMoreAndEndsWhatIsThereWhenItIsToEnd) {
  Service service(engine_, 9);
  Endless one, waits, late;
  const Service::Stay a(service, {&one}), b(service, {&waits, &late});
  one.wait_for_tokens();
  service.refuse_more();
  EXPECT_EQ(Service::Stay(service, {&late}).entry(), Service::Entry::kEnding);
  EXPECT_FALSE(service.wait_until_empty(std::chrono::seconds(0)));
  service.end_all("enough");
  for (const Endless* sequence : {&one, &waits, &late}) {
    sequence->wait_for_end();
    EXPECT_TRUE(sequence->failed);
    EXPECT_EQ(sequence->reason, "enough");
  }
}

/// Stays in a token until it may leave it.
struct Slow : Endless {
  bool on_token(int32_t token, const Decoder::Scored& scored) override {
    const bool more = Endless::on_token(token, scored);
    while (held) std::this_thread::yield();
    return more;
  }
  std::atomic<bool> held = true;
};

TEST_F(ServiceTest, NothingIsToldAfterAStayEvenWhileTheServiceEnds) {
  Service service(engine_, 9);
  Slow slow;
  Endless leaves, never_there;
  const Service::Stay a(service, {&slow});
  slow.wait_for_tokens();  // and the engine's thread is in its first one
  auto stay = std::make_unique<Service::Stay>(service, std::vector<Sequence*>{&leaves, &never_there});
  service.end_all("enough");
  std::atomic<bool> left = false;
  std::thread leaving([&] {
    stay.reset();
    left = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(left) << "the engine's thread may be at any sequence";
  slow.held = false;
  leaving.join();
  slow.wait_for_end();
  EXPECT_FALSE(leaves.ended || never_there.ended);
  EXPECT_EQ(leaves.tokens + never_there.tokens, 0);
}

TEST_F(ServiceTest, AnAnswerThatNobodyReadsTakesNoPlace) {
  const std::unique_ptr<Tokenizer> tokenizer = make_byte_tokenizer();
  const ServedModel served{
      .name = "demo", .tokenizer = *tokenizer, .vocab_size = 256, .end_token = std::nullopt, .most_tokens = 100};
  const CompletionRequest request = parse_completion(R"({"prompt": "ab", "n": 3, "max_tokens": 5})", served);
  Service service(engine_, 1);
  std::optional<Service::Stay> stay;
  Completion completion(request, served, [&] { stay->leave_place(); });
  stay.emplace(service, completion.sequences());
  EXPECT_TRUE(service.wait_until_empty(std::chrono::seconds(60)));
  EXPECT_TRUE(completion.ended());
  Endless next;
  EXPECT_EQ(Service::Stay(service, {&next}).entry(), Service::Entry::kTaken);
  EXPECT_EQ(completion.completion_tokens(), 15);
  stay.reset();
  EXPECT_EQ(service.state().requests, 0);
}

TEST_F(ServiceTest, TellsEverySequenceThatTheEngineHasFailed) {
  Service service(engine_, 9);
  Endless one, other, late;
  const Service::Stay a(service, {&one}), b(service, {&other});
  one.wait_for_tokens();
  one.breaks = true;
  other.wait_for_end();
  one.wait_for_end();
  EXPECT_EQ(other.reason, "the device is gone");
  ASSERT_TRUE(service.failure().has_value());
  EXPECT_EQ(service.failure()->kind, ErrorKind::kDevice);
  EXPECT_EQ(Service::Stay(service, {&late}).entry(), Service::Entry::kEnding);
}

}  // namespace
}  // namespace retain::test
