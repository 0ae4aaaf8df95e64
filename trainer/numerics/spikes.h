// Spikes of a series of numbers, such as the loss of every step, by a robust score: how many deviations a value lies
// above the median of the last values that were accepted. A pure core: no rank, no clock, no file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace retain {

class SpikeWindow {
 public:
  /// `capacity` values are kept; one whose score is above `most_score` is a spike.
  SpikeWindow(int64_t capacity, double most_score);

  /// Whether a value is known to be a spike, before it is recorded.
  bool is_spike(double value) const { return value > limit(); }
  /// The largest value that is none; infinity while fewer than kFewest values are known.
  double limit() const { return limit_; }
  /// (value − median) / deviation; the deviation is 1.4826 times the median distance from the median (that of a normal
  /// distribution is then its standard deviation; Rousseeuw & Croux 1993), or 1 % of the median if that is more, so
  /// that a constant series has one too. 0 while nothing is known.
  double score(double value) const;
  double median() const { return median_; }

  /// Takes a value into the statistics. One that is not finite, or implausibly large, never enters. A spike does not
  /// enter either, unless the last kFewest values were all spikes: then these are a new level, of which the statistics
  /// are taken from there on. So a single outlier changes nothing of what is decided later.
  void record(double value);

  /// Everything that later decisions depend on, bit for bit, as text of hexadecimal numbers, and back. Throws
  /// Error(kData) for another text. A window of another capacity takes the newest values.
  std::string to_text() const;
  void from_text(const std::string& text);

  static constexpr int64_t kFewest = 32;
  static constexpr double kImplausible = 1e20;

 private:
  void accept(double value);
  void update_statistics();

  int64_t capacity_;
  double most_score_;
  std::vector<double> accepted_;  ///< the oldest first
  std::vector<double> rejected_;  ///< spikes since the last value that was none
  double median_ = 0, deviation_ = 0, limit_;
};

}  // namespace retain
