#include "trainer/run/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <semaphore>

namespace retain::test {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Not;
using ::testing::StartsWith;

TEST(ProgressBar, SaysHowFarTheWorkIsAndHowLongItWillTake) {
  EXPECT_EQ(bar_text({.what = "training",
                      .done = 1200,
                      .total = 25000,
                      .more = "loss 2.813 412k tok/s",
                      .per_second = 23800.0 / (3 * 3600 + 12 * 60)},
                     200),
            "training [#-----------------------------] 1200/25000 4.8% loss 2.813 412k tok/s eta 3h12m");
  EXPECT_EQ(
      bar_text(
          {.what = "preparing", .unit = "bytes", .done = 1'200'000'000, .total = 25'000'000'000, .per_second = 160e6},
          80),
      "preparing [#-----------------------------] 1.20GB/25.0GB 4.8% 160MB/s eta 2m29s");
  EXPECT_EQ(bar_text({.what = "validating", .unit = "tokens", .done = 500, .total = 1000, .per_second = 500}, 200),
            "validating [###############---------------] 500/1.00k tokens 50.0% 500 tok/s eta 1s");
  EXPECT_EQ(bar_text({.what = "preparing", .unit = "bytes", .done = 2'500'000}, 80), "preparing 2.50MB")
      << "nobody knows how much it is";
  EXPECT_EQ(bar_text({.what = "saving", .unchanged_seconds = 125}, 80), "saving 2m05s");
}

TEST(ProgressBar, IsNarrowerThanTheTerminal) {
  const WorkState work{.what = "training", .done = 12, .total = 20, .more = "loss 2.813 412k tok/s", .per_second = 2};
  for (int columns = 0; columns < 200; ++columns)
    EXPECT_LE(std::ssize(bar_text(work, columns)), std::max(columns - 1, 0)) << columns;
  EXPECT_EQ(bar_text(work, 60), "training [####---] 12/20 60.0% loss 2.813 412k tok/s eta 4s");
  EXPECT_EQ(bar_text(work, 57), "training 12/20 60.0% loss 2.813 412k tok/s eta 4s");
}

TEST(ProgressLine, HasAFixedOrder) {
  EXPECT_EQ(progress_line({{.what = "training", .done = 119, .total = 400, .per_second = 0.1},
                           {.what = "validating",
                            .unit = "tokens",
                            .done = 5000,
                            .total = 20000,
                            .per_second = 5000,
                            .unchanged_seconds = 0.2}}),
            "step=119/400 doing=validating tokens=5000/20000 tokens_per_second=5000 eta=3s unchanged_seconds=0");
  EXPECT_EQ(progress_line({{.what = "training", .done = 119, .total = 400, .unchanged_seconds = 61}}),
            "doing=training step=119/400 unchanged_seconds=61");
  EXPECT_EQ(progress_line({{.what = "preparing", .unit = "bytes", .unchanged_seconds = 61}}),
            "doing=preparing unchanged_seconds=61");
  EXPECT_EQ(
      progress_line({{.what = "training", .done = 3, .total = 4}, {.what = "first step", .unchanged_seconds = 9}}),
      "step=3/4 doing=\"first step\" unchanged_seconds=9");
}

/// stdout and stderr are a terminal of so many columns.
class OnTerminal {
 public:
  explicit OnTerminal(unsigned short columns, const char* kind = "xterm") {
    std::fflush(nullptr);
    winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    int terminal = -1;
    EXPECT_EQ(::openpty(&master_, &terminal, nullptr, nullptr, &size), 0);
    for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
      saved_[static_cast<size_t>(descriptor - 1)] = ::dup(descriptor);
      ::dup2(terminal, descriptor);
    }
    ::close(terminal);
    if (const char* const before = std::getenv("TERM")) kind_before_ = before;
    ::setenv("TERM", kind, 1);
  }
  ~OnTerminal() {
    restore();
    ::close(master_);
    kind_before_.empty() ? ::unsetenv("TERM") : ::setenv("TERM", kind_before_.c_str(), 1);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  /// Reads until `seen` of all that was written, or for a minute.
  bool wait_until(const std::function<bool(const std::string&)>& seen) {
    while (!seen(written_)) {
      pollfd ready{.fd = master_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 60'000) <= 0 || !read_more()) return seen(written_);
    }
    return true;
  }
  bool wait_for(const std::string& text) {
    return wait_until([&](const std::string& written) { return written.find(text) != std::string::npos; });
  }
  /// All that was written; nobody writes any more.
  const std::string& finish() {
    restore();
    while (read_more()) {
    }
    return written_;
  }

 private:
  bool read_more() {
    std::array<char, 4096> block{};
    const ssize_t n = ::read(master_, block.data(), block.size());
    if (n > 0) written_.append(block.data(), static_cast<size_t>(n));
    return n > 0;
  }
  void restore() {
    for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
      int& saved = saved_[static_cast<size_t>(descriptor - 1)];
      if (saved < 0) continue;
      ::dup2(saved, descriptor);
      ::close(saved);
      saved = -1;
    }
  }
  int master_ = -1;
  std::array<int, 2> saved_ = {-1, -1};
  std::string written_, kind_before_;
};

/// What a terminal shows when all this was written to it, and the most bars that stood on it at a time.
struct Screen {
  std::vector<std::string> lines = {""};
  int64_t most_bars = 0;

  explicit Screen(const std::string& written) {
    size_t column = 0;
    for (size_t i = 0; i < written.size(); ++i) {
      std::string& line = lines.back();
      if (written.compare(i, 3, "\x1b[K") == 0) {
        line.resize(column);
        i += 2;
      } else if (written[i] == '\r') {
        column = 0;
      } else if (written[i] == '\n') {
        lines.emplace_back();  // a terminal adds the \r itself, and the line stays as it is
      } else {
        line.resize(std::max(line.size(), column + 1), ' ');
        line[column++] = written[i];
      }
      most_bars = std::max(most_bars, static_cast<int64_t>(std::ranges::count_if(
                                          lines, [](const std::string& l) { return l.find('#') != l.npos; })));
    }
  }
};

TEST(ProgressBar, LinesScrollAboveOneBar) {
  OnTerminal terminal(80);
  {
    Log log({});
    ProgressBar progress(log);
    ProgressBar::Work training(progress, {.what = "training", .total = 40});
    training.at(10, "loss 2.5");
    EXPECT_TRUE(terminal.wait_for("10/40 25.0% loss 2.5"));
    log.print("step=10/40 loss=2.5");
    log.info("committed step 10");
    {
      ProgressBar::Work inner(progress, {.what = "validating", .unit = "tokens", .done = 500, .total = 1000});
      EXPECT_TRUE(terminal.wait_for("validating ["));
    }
    training.at(20, "loss 2.25");
    EXPECT_TRUE(terminal.wait_for("20/40 50.0% loss 2.25"));
    log.print("step=20/40 loss=2.25");
  }
  const Screen screen(terminal.finish());
  EXPECT_EQ(screen.most_bars, 1);
  EXPECT_THAT(screen.lines,
              ElementsAre("step=10/40 loss=2.5", EndsWith(" info: committed step 10"), "step=20/40 loss=2.25", ""))
      << "and nothing is left of the bar";
}

TEST(ProgressBar, TheBarFitsTheTerminal) {
  OnTerminal terminal(30);
  {
    Log log({});
    ProgressBar progress(log);
    ProgressBar::Work training(progress,
                               {.what = "training", .done = 1, .total = 40, .more = "loss 2.5 and much more"});
    EXPECT_TRUE(terminal.wait_for("training 1/40"));
  }
  for (const std::string& line : Screen(terminal.finish()).lines) EXPECT_LT(line.size(), 30U);
}

TEST(ProgressBar, TheLastWordsAreNotUnderABar) {
  OnTerminal terminal(80);
  {
    Log log({});
    ProgressBar progress(log);
    ProgressBar::Work training(progress, {.what = "training", .done = 1, .total = 40});
    EXPECT_TRUE(terminal.wait_for("1/40"));
    log.say_end("all is lost", std::chrono::seconds{60});
    EXPECT_TRUE(terminal.wait_for("all is lost"));
    training.at(2);
  }
  EXPECT_THAT(Screen(terminal.finish()).lines, ElementsAre("all is lost", ""));
}

/// What a short work with a bar, if there may be one, writes to a terminal.
std::string written_on(OnTerminal& terminal, const ProgressBarOptions& options) {
  {
    Log log({});
    ProgressBarOptions told = options;
    told.silence = std::chrono::milliseconds{300};  // a bar would have come by then
    told.say = [&log](const std::string& line) { log.print(line); };
    ProgressBar progress(log, told);
    ProgressBar::Work training(progress, {.what = "training", .done = 1, .total = 40});
    EXPECT_TRUE(terminal.wait_for("doing=training"));
  }
  return terminal.finish();
}

TEST(ProgressBar, NoBarWhereTheTerminalCannotShowOneOrNobodyWantsIt) {
  const auto plain = Not(ContainsRegex("\x1b|40 2.5%"));
  OnTerminal dumb(80, "dumb");
  EXPECT_THAT(written_on(dumb, {}), plain);
  OnTerminal of_a_launcher(0);
  EXPECT_THAT(written_on(of_a_launcher, {}), plain);
  OnTerminal unwanted(80);
  EXPECT_THAT(written_on(unwanted, {.bar = false}), plain);
}

TEST(ProgressBar, ALineComesWhenNothingElseWasSaid) {
  ::testing::internal::CaptureStdout();
  {
    Log log({});
    std::binary_semaphore said(0);
    std::atomic<bool> told{false};
    ProgressBar progress(log, {.silence = std::chrono::milliseconds{1}, .say = [&](const std::string& line) {
                                 log.print(line);
                                 if (!told.exchange(true)) said.release();
                               }});
    const ProgressBar::Work work(progress, {.what = "first_step", .done = 3, .total = 4});
    said.acquire();
  }
  EXPECT_THAT(::testing::internal::GetCapturedStdout(),
              AllOf(StartsWith("doing=first_step step=3/4 unchanged_seconds="), Not(ContainsRegex("[\r\x1b]"))));
}

TEST(ProgressBar, OtherRanksSayNothing) {
  ::testing::internal::CaptureStdout();
  {
    Log log({.world_rank = 1});
    ProgressBar progress(
        log, {.silence = std::chrono::milliseconds{1}, .say = [](const std::string& line) { ADD_FAILURE() << line; }});
    ProgressBar::Work work(progress, {.what = "training", .total = 4});
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace retain::test
