// What `retain top` shows of a run: text of a terminal's size. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/run/history.h"

namespace retain {

/// A run as its directory tells of it.
struct WatchedRun {
  const RunHistory& history;
  int64_t steps = 0;  ///< of the whole run; 0 where nothing says so
};

struct ScreenOptions {
  int columns = 80, rows = 24;
  bool ascii = false;    ///< no characters beyond ASCII
  bool colours = false;  ///< escapes of a terminal
};

/// Lines that fill at most the screen, of one run in full or of several in a few lines each. `now`: Unix seconds.
std::vector<std::string> draw_screen(const std::vector<WatchedRun>& runs, double now, const ScreenOptions& options);

/// What becomes of a run, in a word or two, and whether that is good news.
struct RunCondition {
  std::string text;  ///< "running", "finished", "stopped: …", "failed with exit code 71: …", "silent for 5 min 3 s"
  enum class Mood : uint8_t { kGoing, kDone, kBad } mood = Mood::kGoing;
};
RunCondition condition_of(const RunHistory& history, double now);

/// Seconds until the last step, by the wall clock of the newest steps; negative where it cannot be told.
double seconds_left(const WatchedRun& run);

}  // namespace retain
