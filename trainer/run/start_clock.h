// How long each part of a start takes, from the beginning of the process to the end of the first step.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace retain {

class StartClock {
 public:
  using Clock = std::chrono::steady_clock;

  /// Begins at once, or so many seconds ago.
  explicit StartClock(double seconds_ago = 0);

  /// What has passed since the end of another part, or the beginning, was this part; one that was there goes on.
  void end_part(const std::string& name, Clock::time_point at = Clock::now());
  /// So many seconds of the part that ended last were another's.
  void move_last(double seconds, const std::string& name);

  const std::vector<std::pair<std::string, double>>& parts() const { return parts_; }  ///< seconds
  double seconds() const;                                                              ///< of all parts
  /// "1.31 s: program 0.05, MPI 0.40, …"
  std::string describe() const;

 private:
  void add(const std::string& name, double seconds);

  Clock::time_point last_;
  std::string last_part_;
  std::vector<std::pair<std::string, double>> parts_;
};

/// Seconds since the system began this process, to a hundredth; 0 where it does not say.
double process_seconds();

}  // namespace retain
