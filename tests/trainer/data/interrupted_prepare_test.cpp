// Preparations that were interrupted, and go on to the same bytes or say why not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "parallel/agreement.h"
#include "tests/trainer/data/token_files.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"
#include "trainer/data/prepare.h"
#include "trainer/data/prepare_state.h"

namespace retain {
namespace {

using testing::HasSubstr;

/// A preparation in a process of its own that is killed when it has written so much, or ends by itself.
class Interrupted : public testing::Test {
 protected:
  std::string input(const std::string& name, const std::string& text) const {
    write_file(folder_.file(name), text);
    return folder_.file(name);
  }
  Interrupted() {
    std::mt19937 random(4);
    std::filesystem::create_directories(folder_.file("in"));
    std::string lines;
    for (int i = 0; i < 6000; ++i)
      lines += nlohmann::json{{"text", random_text(random, 60, false)}}.dump() + (i % 50 ? "\n" : "\nno JSON\n");
    std::string plain;
    while (plain.size() < 900'000) plain += random_text(random, 1000, false);
    input("in/a.gz", "not looked at");
    input("in/b.txt", plain);
    input("in/c.jsonl", lines);
    for (int i = 0; i < 20; ++i) input(concat("in/d", i, ".bin"), "\xff");
    for (int i = 0; i < 60; ++i) input(concat("in/d", i, ".txt"), i % 7 ? plain.substr(0, 3000) : "");
    input("in/e.txt", plain);
  }
  static PrepareOptions options(double holdout) {
    return {.holdout_fraction = holdout, .skip_bad = 1000, .threads = 2, .keep_seconds = 0};
  }
  std::string files(double holdout, const std::string& out) const {
    const PrepareSummary summary =
        prepare_tokens(std::vector{folder_.file("in")}, folder_.file(out), *bpe_, options(holdout));
    EXPECT_EQ(summary.bad_lines.count, 120 + 1 + 20);
    EXPECT_EQ(summary.empty_documents.count, 9);
    std::string all = concat(summary.text_bytes, " ", summary.bad_lines.first.back());
    for (const PreparedSet& set : summary.sets) {
      for (const char* const file : {".bin", ".idx", ".tokens.json"}) all += read_file(set.prefix + file);
    }
    EXPECT_FALSE(std::filesystem::exists(folder_.file(out) + ".part"));
    return all;
  }
  /// Whether it was killed, when more than so many bytes were written behind what was there.
  bool kill_at(int64_t bytes, double holdout, const std::string& out) const {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        prepare_tokens(std::vector{folder_.file("in")}, folder_.file(out), *bpe_, options(holdout));
      } catch (const std::exception&) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    const std::string tokens = folder_.file(out) + ".part/whole.tokens", state = folder_.file(out) + ".part/state.json";
    for (;;) {
      int status = 0;
      if (::waitpid(child, &status, WNOHANG) == child) {
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        return false;
      }
      std::error_code error;
      const auto written = static_cast<int64_t>(std::filesystem::file_size(tokens, error));
      if (!error && written > bytes && std::filesystem::exists(state)) break;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return true;
  }
  /// Of these inputs, with this text behind standard input.
  Outcome from_pipe(const std::string& piped, const PrepareOptions& options,
                    std::vector<std::string> inputs = {"-"}) const {
    std::istringstream pipe(piped);
    std::streambuf* const before = std::cin.rdbuf(pipe.rdbuf());
    const Outcome outcome = attempt([&] { prepare_tokens(inputs, folder_.file("out"), *bpe_, options); });
    std::cin.rdbuf(before);
    return outcome;
  }
  const TestFolder folder_;
  const std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("bytes");
  const std::unique_ptr<Tokenizer> bpe_ = make_byte_level_bpe(small_bpe());
};

TEST_F(Interrupted, GoesOnToTheSameBytes) {
  for (const double holdout : {0.0, 0.1}) {
    const std::string want = files(holdout, "want");
    const auto tokens = static_cast<int64_t>(want.size()) / 2;
    std::mt19937 random(static_cast<unsigned>(1 + 100 * holdout));
    int kills = 0;
    for (int round = 0; round < 4; ++round) {
      const std::string out = concat("out", round);
      for (int64_t at = 0; at < tokens; at += tokens / 3)
        kills += kill_at(at + static_cast<int64_t>(random() % static_cast<unsigned>(tokens / 3)), holdout, out) ? 1 : 0;
      EXPECT_TRUE(files(holdout, out) == want) << "round " << round;
    }
    EXPECT_GE(kills, 4);
  }
}

TEST_F(Interrupted, BeginsAnewWhereItsInputsWereWrittenOrItsRulesAreOthers) {
  std::vector<std::string> said;
  const auto go_on = [&](const Tokenizer& tokenizer) {
    said.clear();
    PrepareOptions now = options(0);
    now.say = [&](const std::string& line) { said.push_back(line); };
    prepare_tokens(std::vector{folder_.file("in")}, folder_.file("out"), tokenizer, now);
    return read_file(folder_.file("out.bin"));
  };
  const std::string want = go_on(*bpe_);
  EXPECT_TRUE(said.empty());
  ASSERT_TRUE(kill_at(1'000'000, 0, "out"));
  EXPECT_TRUE(go_on(*bpe_) == want);
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr("goes on where")));

  ASSERT_TRUE(kill_at(1'000'000, 0, "out"));
  const std::string text = read_file(folder_.file("in/b.txt"));
  input("in/b.txt", "x" + text.substr(1));
  EXPECT_TRUE(go_on(*bpe_) != want);
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr("were written since: begins anew")));
  input("in/b.txt", text);

  ASSERT_TRUE(kill_at(1'000'000, 0, "out"));
  EXPECT_TRUE(go_on(*tokenizer_) != want);
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr("another tokenizer, encoding or key: begins anew")));

  ASSERT_TRUE(kill_at(1'000'000, 0, "out"));
  std::filesystem::remove(folder_.file("out.part/whole.tokens"));
  EXPECT_TRUE(go_on(*bpe_) == want);
  EXPECT_THAT(said, testing::ElementsAre(HasSubstr("begins anew")));
}

TEST_F(Interrupted, StandardInputMustBeTheSameTextAgain) {
  const std::string text = read_file(folder_.file("in/b.txt"));
  PrepareOptions kept = options(0);
  EXPECT_FALSE(from_pipe(text + "\xff", kept).ok);  // what was done before the bad byte is kept
  EXPECT_TRUE(std::filesystem::exists(folder_.file("out.part/state.json")));
  EXPECT_THAT(from_pipe("x" + text.substr(1), kept).message, HasSubstr("is another text than the one that was begun"));
  EXPECT_THAT(from_pipe("x", kept).message, HasSubstr("out.part to begin anew"));
  EXPECT_TRUE(from_pipe(text, kept).ok);
  const std::string resumed = read_file(folder_.file("out.bin"));
  EXPECT_TRUE(from_pipe(text, {}).ok);
  EXPECT_TRUE(read_file(folder_.file("out.bin")) == resumed);
}

TEST_F(Interrupted, TwoAtOnceAreRefused) {
  const PrepareFolder folder(folder_.file("out"), 1);
  EXPECT_THAT(message_of(ErrorKind::kCannotCreate, [&] { files(0, "out"); }), HasSubstr("another process prepares"));
}

TEST_F(Interrupted, StandardInputThatWasReadToItsEndIsReadAgain) {
  input("good.txt", "good");
  const std::vector<std::string> inputs = {"-", input("late.txt", "\xff")};
  PrepareOptions kept = options(0);
  kept.skip_bad = 0;
  EXPECT_FALSE(from_pipe(read_file(folder_.file("in/b.txt")), kept, inputs).ok);
  ASSERT_TRUE(std::filesystem::exists(folder_.file("out.part/state.json")));
  input("late.txt", "good");
  EXPECT_TRUE(from_pipe("new", kept, inputs).ok);
  const std::string resumed = read_file(folder_.file("out.bin"));
  EXPECT_TRUE(from_pipe("new", {}, inputs).ok);
  EXPECT_TRUE(read_file(folder_.file("out.bin")) == resumed) << "tokens of the text that was piped before";
}

TEST_F(Interrupted, AFileOfWhichAPartIsThereCannotBeLeftOutAnyMore) {
  std::filesystem::create_directories(folder_.file("two"));
  input("two/a.txt", read_file(folder_.file("in/b.txt")) + "\xff");
  input("two/b.txt", "b");
  const auto prepare = [&](int64_t skip_bad) {
    PrepareOptions now = options(0);
    now.skip_bad = skip_bad;
    return attempt([&] { prepare_tokens(std::vector{folder_.file("two")}, folder_.file("out"), *bpe_, now); });
  };
  EXPECT_FALSE(prepare(0).ok);
  ASSERT_TRUE(std::filesystem::exists(folder_.file("out.part/state.json"))) << "a part of it is there";
  for (int time = 0; time < 2; ++time)
    EXPECT_THAT(prepare(1).message, HasSubstr("a part of it is among the tokens already"));
  std::filesystem::remove_all(folder_.file("out.part"));
  EXPECT_TRUE(prepare(1).ok);
}

TEST_F(Interrupted, AnIndexOfOtherInputsIsNotTakenForThatOfThese) {
  std::filesystem::create_directories(folder_.file("one"));
  input("one/a.txt", "old text");
  std::filesystem::create_directories(folder_.file("out_valid.bin"));  // so that the copy fails once the whole is there
  const auto prepare = [&] {
    PrepareOptions now = options(0.5);
    now.skip_bad = 0;
    return attempt([&] { prepare_tokens(std::vector{folder_.file("one")}, folder_.file("out"), *bpe_, now); });
  };
  EXPECT_FALSE(prepare().ok);
  ASSERT_TRUE(std::filesystem::exists(folder_.file("out.part/whole.idx")));
  input("one/a.txt", "text that is new");
  input("one/b.txt", "\xff");
  EXPECT_FALSE(prepare().ok);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("out.part/whole.idx")));
}

}  // namespace
}  // namespace retain
