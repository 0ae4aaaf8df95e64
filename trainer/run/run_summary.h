// The last words of a start of a run, however it ends: the closing line of log.txt and the closing event, which carry
// the same; and who asked for the end.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace retain {

class Log;

struct RunSummary {
  struct Best {
    double loss = 0;  ///< nats a token
    int64_t step = 0;
  };
  int64_t step = 0, steps = 0;                     ///< finished, of the whole run
  int64_t tokens = 0;                              ///< trained so far
  int64_t steps_of_start = 0;                      ///< by this start
  double seconds = 0;                              ///< that it took
  std::optional<Best> best = {}, best_valid = {};  ///< of this start
  std::string checkpoint = {};                     ///< the newest that is known; empty: none
};

/// How a start ended.
struct RunEnd {
  std::string kind;    ///< of the event: "done", "stop", "error"
  std::string reason;  ///< in words
  int exit_code = 0;
  int world_rank = 0;  ///< that says so
  std::string host;
};

/// "120 of 400 steps, 30720 tokens; 20 steps in 3.1 s by this start; best loss 2.34 at step 118; newest checkpoint …"
std::string describe(const RunSummary& summary);
/// The closing event, with everything, in the log of rank end.world_rank.
void tell_end(Log& log, const RunSummary& summary, const RunEnd& end);

/// Who asked for something, `by_rank` being what each rank was asked by, or "": "SIGUSR1 (rank 1)",
/// "SIGTERM (ranks 0, 1); the file run/STOP (rank 0)". Without ranks where there is one.
std::string describe_requests(const std::vector<std::string>& by_rank);

}  // namespace retain
