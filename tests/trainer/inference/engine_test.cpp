// Many sequences over few slots, and what a model remembers of a prompt in a file, on every backend.
#include "trainer/inference/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tiny_run.h"
#include "tests/trainer/inference/small_model.h"
#include "trainer/inference/state_file.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kEnd = 50;

std::vector<int32_t> text(uint64_t seed, int64_t count) { return random_tokens(seed, count, kEnd); }

/// A sequence that writes down what it hears.
struct Heard : Sequence {
  Heard(std::vector<int32_t> tokens, int64_t most) {
    prompt = std::move(tokens);
    max_tokens = most;
    sampling = {.temperature = 0.8, .top_k = 20, .repetition_penalty = 1.1, .seed = 5};
    top = 0;
  }
  bool keeps_state() const override { return keeps; }
  void on_state(Decoder::SavedState&& state, std::span<const int32_t> rest) override {
    kept = std::move(state);
    this->rest.assign(rest.begin(), rest.end());
  }
  void on_read(std::span<const int32_t> tokens, std::span<const Decoder::Scored> scored) override {
    read += std::ssize(tokens);
    scores += std::ssize(scored);
  }
  bool on_token(int32_t token, const Decoder::Scored& scored) override {
    tokens.push_back(token);
    log_probabilities.push_back(scored.log_probability);
    return std::ssize(tokens) < enough;
  }
  void on_end(SequenceEnd how, const std::string& why) override {
    end = how;
    reason = why;
  }

  bool keeps = false;
  int64_t enough = std::numeric_limits<int64_t>::max();
  std::vector<int32_t> tokens, rest;
  std::vector<float> log_probabilities;
  int64_t read = 0, scores = 0;
  Decoder::SavedState kept;
  std::optional<SequenceEnd> end;
  std::string reason;
};

class EngineTest : public SmallModelTest {
 protected:
  static std::vector<uint8_t> all_but(int32_t token) {
    std::vector<uint8_t> drawable(kVocab, 1);
    drawable[static_cast<size_t>(token)] = 0;
    return drawable;
  }
  /// Alone, in an engine of its own.
  void continue_alone(Heard& sequence, int32_t never = 52) {
    Decoder one = decoder(1);
    Engine engine(one, all_but(never), kEnd);
    engine.add(sequence);
    while (engine.advance()) continue;
  }
  std::string fingerprint() { return model_fingerprint(backend(), parameters(), small_model()); }
};

TEST_P(EngineTest, EverySequenceGetsWhatItGetsAloneHoweverFewSlotsThereAre) {
  if (GetParam().cuda) GTEST_SKIP() << "products of other numbers of rows round otherwise";
  Decoder few = decoder(3);
  Engine engine(few, all_but(52), kEnd);
  std::vector<std::unique_ptr<Heard>> sequences;
  for (int64_t i = 0; i < 8; ++i) {
    auto& one = sequences.emplace_back(std::make_unique<Heard>(text(i, 1 + 97 * (i % 5)), 3 + 5 * (i % 3)));
    one->sampling.seed = static_cast<uint64_t>(i);
    one->score_prompt = i % 2 == 0;
    engine.add(*one);
  }
  EXPECT_EQ(engine.waiting(), 8);
  while (engine.advance()) EXPECT_LE(engine.active(), 3);
  int64_t drawn = 0;
  for (const auto& one : sequences) {
    Heard alone(one->prompt, one->max_tokens);
    alone.sampling = one->sampling;
    continue_alone(alone);
    EXPECT_EQ(one->tokens, alone.tokens);
    EXPECT_EQ(one->end, alone.end);
    EXPECT_EQ(one->read, std::ssize(one->prompt));
    EXPECT_EQ(one->scores, one->score_prompt ? one->read : 0);
    EXPECT_EQ(std::count(one->tokens.begin(), one->tokens.end(), 52), 0) << "it cannot be drawn";
    drawn += std::ssize(one->tokens);
  }
  EXPECT_EQ(engine.counts().drawn_tokens, drawn);
}

TEST_P(EngineTest, TokensThatTheDeviceDrawsAreThoseThatTheHostDraws) {
  if (GetParam().cuda) GTEST_SKIP() << "products of other numbers of rows round otherwise";
  // Some want probabilities, which the host draws for, some stop in the middle, and they come and go.
  Decoder few = decoder(3);
  Engine engine(few, all_but(52), kEnd);
  std::vector<std::unique_ptr<Heard>> sequences;
  for (int64_t i = 0; i < 12; ++i) {
    auto& one = sequences.emplace_back(std::make_unique<Heard>(text(i, 1 + 61 * (i % 5)), 1 + 7 * (i % 4)));
    one->sampling = {.temperature = i % 3 * 0.7, .top_k = i % 2 * 9, .seed = static_cast<uint64_t>(i)};
    one->top = i % 5 == 4 ? 0 : -1;
    one->enough = i % 4 == 3 ? 5 : 1000;
    engine.add(*one);
  }
  while (engine.advance()) continue;
  for (const auto& one : sequences) {
    Heard alone(one->prompt, one->max_tokens);
    alone.sampling = one->sampling;
    alone.enough = one->enough;
    continue_alone(alone);  // on the host
    EXPECT_EQ(one->tokens, alone.tokens);
    EXPECT_EQ(one->end, alone.end);
  }
}

TEST_P(EngineTest, DeviceAndHostDrawTheSameFromTheSameRows) {
  const auto tokens_of = [&](int top) {
    Decoder four = decoder(4);
    Engine engine(four, all_but(52), std::nullopt);
    std::vector<std::unique_ptr<Heard>> sequences;
    for (int64_t i = 0; i < 4; ++i) {
      auto& one = sequences.emplace_back(std::make_unique<Heard>(text(i, 3 + 41 * i), 20));
      one->sampling = {.temperature = 0.5 * static_cast<double>(i), .top_p = 0.9, .min_p = 0.01, .seed = 7};
      one->top = top;
      engine.add(*one);
    }
    while (engine.advance()) continue;
    std::vector<std::vector<int32_t>> all;
    for (const auto& one : sequences) all.push_back(one->tokens);
    return all;
  };
  EXPECT_EQ(tokens_of(-1), tokens_of(0));
}

TEST_P(EngineTest, OthersGetATokenBetweenTheBlocksOfALongPrompt) {
  Decoder two = decoder(2);
  Engine engine(two, all_but(kEnd), kEnd);
  Heard first(text(1, 3), 1000), second(text(2, 5 * two.largest_block()), 4);
  engine.add(first);
  engine.advance();
  engine.add(second);
  for (int64_t block = 1; block <= 5; ++block) {
    const auto before = std::ssize(first.tokens);
    engine.advance();
    EXPECT_EQ(second.read, block * two.largest_block());
    EXPECT_EQ(std::ssize(first.tokens), before + 1);
  }
  EXPECT_EQ(second.tokens.size(), 1U);
}

TEST_P(EngineTest, AShortPromptIsReadBetweenTheBlocksOfALongOne) {
  Decoder three = decoder(3);
  Engine engine(three, all_but(kEnd), kEnd);
  Heard first(text(1, 9 * three.largest_block()), 4), second(text(2, 9 * three.largest_block()), 4),
      brief(text(3, 5), 4);
  engine.add(first);
  engine.advance();
  engine.add(second);
  engine.add(brief);
  for (int i = 0; i < 6; ++i) engine.advance();
  EXPECT_EQ(brief.tokens.size(), 4U);
  for (const Heard* longer : {&first, &second}) EXPECT_EQ(longer->read, 3 * three.largest_block());
}

TEST_P(EngineTest, RequestsOfManySequencesTakeTurnsWithOthers) {
  Decoder one = decoder(1);
  Engine engine(one, all_but(kEnd), kEnd);
  std::vector<std::unique_ptr<Heard>> many;
  for (int64_t i = 0; i < 6; ++i) {
    many.push_back(std::make_unique<Heard>(text(1, 3), 2));
    many.back()->turn = i;
    engine.add(*many.back());
  }
  engine.advance();
  Heard single(text(2, 3), 2), other(text(3, 3), 2);
  const auto end = [&](const Heard& sequence) {
    while (!sequence.end) ASSERT_TRUE(engine.advance());
  };
  engine.add(single);
  end(single);
  engine.add(other);
  EXPECT_TRUE(many[1]->end);
  EXPECT_FALSE(many[2]->end);
  end(other);
  EXPECT_TRUE(many[2]->end);
  EXPECT_FALSE(many[3]->end);
}

TEST_P(EngineTest, WhoeverIsTakenOutMakesRoom) {
  Decoder one = decoder(1);
  Engine engine(one, all_but(kEnd), kEnd);
  Heard endless(text(1, 300), int64_t{1} << 40), waits(text(2, 3), 2), follows(text(3, 9), 3);
  for (Heard* sequence : {&endless, &waits, &follows}) engine.add(*sequence);
  for (int i = 0; i < 4; ++i) engine.advance();
  EXPECT_EQ(engine.waiting(), 2);
  engine.remove(waits);
  engine.remove(endless);
  while (engine.advance()) continue;
  EXPECT_EQ(waits.read, 0);
  EXPECT_FALSE(endless.end.has_value());
  EXPECT_EQ(follows.end, SequenceEnd::kMaxTokens);
  Heard alone(text(3, 9), 3);
  continue_alone(alone, kEnd);
  EXPECT_EQ(follows.tokens, alone.tokens);
}

TEST_P(EngineTest, ASequenceEndsForOneOfFourReasons) {
  Heard none(text(1, 4), 0), some(text(1, 4), 3), enough(text(1, 4), 100), ends(text(1, 4), 100), broken(text(1, 4), 5);
  enough.enough = 2;
  continue_alone(none);
  EXPECT_EQ(none.end, SequenceEnd::kMaxTokens);
  EXPECT_EQ(none.read, 4);
  EXPECT_TRUE(none.tokens.empty());
  continue_alone(some);
  EXPECT_EQ(some.end, SequenceEnd::kMaxTokens);
  continue_alone(enough);
  EXPECT_EQ(enough.end, SequenceEnd::kEnough);
  EXPECT_EQ(enough.tokens.size(), 2U);

  Decoder one = decoder(1);
  std::vector<uint8_t> only_end(kVocab, 0);
  only_end[kEnd] = 1;
  Engine engine(one, only_end, kEnd);
  engine.add(ends);
  while (engine.advance()) continue;
  EXPECT_EQ(ends.end, SequenceEnd::kEndOfDocument);
  EXPECT_EQ(ends.tokens, std::vector<int32_t>{kEnd});

  Heard late(text(1, 4), 5);
  late.top = -1;
  late.sampling.repetition_penalty = 1;
  Engine other(one, all_but(52), kEnd);
  other.add(late);
  other.advance();
  backend().fill(parameters().flat_weights(), std::numeric_limits<double>::quiet_NaN());
  while (other.advance()) continue;  // on the device
  continue_alone(broken);
  for (const Heard* sequence : {&late, &broken}) {
    EXPECT_EQ(sequence->end, SequenceEnd::kFailed);
    EXPECT_THAT(sequence->reason, HasSubstr("weights are broken"));
  }
}

TEST_P(EngineTest, AKeptStateGoesOnToTheSameBits) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/a.state";
  const int64_t block = decoder(1).largest_block();
  for (const int64_t read : {int64_t{1}, block - 1, block, block + 1, 2 * block + 188}) {
    const std::vector<int32_t> whole = text(9, 3 * block + 132);
    Heard first({whole.begin(), whole.begin() + read}, 5), uninterrupted(whole, 20), same(first.prompt, 5);
    first.keeps = true;
    continue_alone(first);
    continue_alone(same);
    EXPECT_EQ(first.log_probabilities, same.log_probabilities) << "keeping changes nothing";
    SeenTokens seen(kVocab);
    seen.add(first.prompt);
    write_state_file(path, fingerprint(), {.state = first.kept, .tokens = first.rest, .seen = seen});

    const ReadPrompt back = read_state_file(path, fingerprint(), kVocab);
    EXPECT_EQ(back.position(), read);
    const auto resume = [&](std::span<const int32_t> more, const Heard& want) {
      Heard resumed(back.tokens, want.max_tokens);
      resumed.prompt.insert(resumed.prompt.end(), more.begin(), more.end());
      resumed.state = &back.state;
      resumed.seen = back.seen;
      continue_alone(resumed);
      EXPECT_EQ(resumed.tokens, want.tokens);
      EXPECT_EQ(resumed.log_probabilities, want.log_probabilities);
    };
    resume({}, same);
    continue_alone(uninterrupted);
    resume(std::span(whole).subspan(static_cast<size_t>(read)), uninterrupted);
  }
}

TEST_P(EngineTest, AStateOfAnotherModelOrADamagedOneIsRefused) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/a.state";
  const Decoder one = decoder(1);
  write_state_file(path, fingerprint(), {.state = one.save(0), .tokens = {1, 2}, .seen = SeenTokens(kVocab)});
  const auto complaint = [&](const std::string& model) -> std::string {
    try {
      read_state_file(path, model, kVocab);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      EXPECT_THAT(error.what(), HasSubstr(path));
      return error.what();
    }
    return "";
  };
  const std::string mine = fingerprint();
  EXPECT_EQ(complaint(mine), "");
  ModelConfig other = small_model();
  other.norm_eps = 1e-6;
  EXPECT_THAT(complaint(model_fingerprint(backend(), parameters(), other)), HasSubstr("is the state of model " + mine));
  parameters().initialize(4);
  EXPECT_THAT(complaint(fingerprint()), HasSubstr("is the state of model " + mine));

  // With a right checksum.
  const auto complaint_of = [&](std::vector<int32_t> tokens, int64_t position, uint8_t seen) {
    ReadPrompt prompt{.state = one.save(0), .tokens = std::move(tokens), .seen = SeenTokens(kVocab)};
    prompt.state.position = position;
    prompt.seen.bytes()[3] = seen;
    const std::string before = path + ".whole";
    std::filesystem::rename(path, before);
    write_state_file(path, mine, prompt);
    const std::string complained = complaint(mine);
    std::filesystem::rename(before, path);
    return complained;
  };
  constexpr int64_t kLast = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(complaint_of({1, kVocab - 1}, kLast - 2, 1), "");
  for (const int32_t token : {-1, static_cast<int32_t>(kVocab), 2'000'000'000})
    EXPECT_THAT(complaint_of({1, token}, 0, 1), HasSubstr(std::to_string(token) + " is no token of this model"));
  for (const int64_t position : {int64_t{-1}, kLast - 1, std::numeric_limits<int64_t>::max()})
    EXPECT_THAT(complaint_of({1, 2}, position, 1), HasSubstr("no text has position " + std::to_string(position)));
  EXPECT_THAT(complaint_of({1, 2}, 0, 7), HasSubstr("is damaged"));

  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto write = [&](const std::string& what) { std::ofstream(path, std::ios::binary) << what; };
  for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 100) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write(damaged);
    EXPECT_NE(complaint(mine), "") << "byte " << at;
  }
  for (const size_t length : {size_t{0}, size_t{7}, bytes.size() / 2, bytes.size() - 1}) {
    write(bytes.substr(0, length));
    EXPECT_NE(complaint(mine), "") << length << " bytes";
  }
}

TEST(StateFileTest, APathThatCannotBeWrittenIsRefusedBeforeAndNoFolderIsMade) {
  const TemporaryDirectory directory;
  EXPECT_NO_THROW(check_state_path(directory.path() + "/a.state"));
  EXPECT_NO_THROW(check_state_path("a.state"));
  for (const char* name : {"", "/nowhere/a.state"}) EXPECT_THROW(check_state_path(directory.path() + name), Error);
  EXPECT_FALSE(std::filesystem::exists(directory.path() + "/nowhere"));
}

INSTANTIATE_TEST_SUITE_P(Backends, EngineTest, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
