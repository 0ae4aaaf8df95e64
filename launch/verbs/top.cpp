// Follows runs on a terminal, from their directories alone.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "launch/config/saved.h"
#include "launch/verbs/verbs.h"
#include "launch/watch/screen.h"
#include "parallel/agreement.h"
#include "trainer/file.h"

namespace retain {

namespace {

constexpr int64_t kLargestConfig = int64_t{1} << 20;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

bool speaks_utf8() {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = environment(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string::npos || value.find("utf8") != std::string::npos ||
           value.find("utf-8") != std::string::npos;
  }
  return false;
}

/// What the run's resolved.yaml says; 0 where it cannot be read.
int64_t steps_of(const std::string& directory) {
  int64_t steps = 0;
  attempt([&] {
    const File file = File::open_given(directory + "/resolved.yaml");
    steps = read_saved_config(read_text(file, kLargestConfig)).config.steps();
  });
  return steps;
}

/// A terminal that shows a page of its own and gives keys one by one, until this is gone.
class FullScreen {
 public:
  FullScreen() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    std::fputs("\x1b[?1049h\x1b[?25l", stdout);
  }
  ~FullScreen() {
    std::fputs("\x1b[?25h\x1b[?1049l", stdout);
    std::fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  void show(const std::vector<std::string>& lines) const {
    std::string page = "\x1b[H";
    for (size_t i = 0; i < lines.size(); ++i) page += (i > 0 ? "\r\n" : "") + lines[i] + "\x1b[K";
    page += "\x1b[J";
    std::fwrite(page.data(), 1, page.size(), stdout);
    std::fflush(stdout);
  }
  /// Waits for a key, so long at most. q, Ctrl-C or the end of what is typed: true.
  bool asked_to_end(double seconds) const {
    pollfd keys{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (poll(&keys, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
    char key = 0;
    return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 3;
  }

 private:
  termios before_{};
};

ScreenOptions look_at_terminal() {
  ScreenOptions options{.ascii = !speaks_utf8(), .colours = environment("NO_COLOR").empty()};
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    options.columns = size.ws_col;
    options.rows = size.ws_row;
  }
  return options;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

int top(const TopOptions& options) {
  std::vector<std::unique_ptr<RunHistory>> histories;
  for (const std::string& run : options.runs) histories.push_back(std::make_unique<RunHistory>(run));
  const auto look = [&] {
    std::vector<WatchedRun> runs;
    for (const auto& history : histories) {
      history->refresh();
      runs.push_back({.history = *history, .steps = steps_of(history->directory())});
    }
    return runs;
  };
  std::vector<WatchedRun> runs = look();
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && environment("TERM") != "dumb";
  if (options.once || !terminal) {
    ScreenOptions screen = look_at_terminal();
    screen.colours = screen.colours && terminal;
    if (options.columns > 0) screen.columns = static_cast<int>(options.columns);
    if (options.rows > 0) screen.rows = static_cast<int>(options.rows);
    for (const std::string& line : draw_screen(runs, now(), screen)) std::cout << line << '\n';
    return 0;
  }
  const FullScreen screen;
  do {
    runs = look();
    screen.show(draw_screen(runs, now(), look_at_terminal()));
  } while (!screen.asked_to_end(options.seconds));
  return 0;
}

}  // namespace retain
