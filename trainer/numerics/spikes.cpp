#include "trainer/numerics/spikes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/core/error.h"
#include "trainer/checkpoint/checksum.h"

namespace retain {

namespace {

constexpr double kNormal = 1.4826;        // standard deviations of a normal distribution in its median distance
constexpr double kLeastDeviation = 0.01;  // of the median
constexpr size_t kDigits = 16;            // of a number in the text
constexpr char kRejectedFollow = '/';

/// The lower median: one of the values, so that it does not round.
double median_of(std::vector<double> values) {
  const auto middle = values.begin() + (std::ssize(values) - 1) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string text_of(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += to_hex(std::bit_cast<uint64_t>(value));
  return text;
}

std::vector<double> values_of(std::string_view text) {
  std::vector<double> values;
  for (size_t i = 0; i < text.size(); i += kDigits) {
    uint64_t bits = 0;
    if (!from_hex(text.substr(i, kDigits), bits) || !std::isfinite(std::bit_cast<double>(bits)))
      throw Error(ErrorKind::kData, "the statistics of spikes are no list of numbers");
    values.push_back(std::bit_cast<double>(bits));
  }
  return values;
}

}  // namespace

SpikeWindow::SpikeWindow(int64_t capacity, double most_score)
    : capacity_(capacity), most_score_(most_score), limit_(std::numeric_limits<double>::infinity()) {
  RETAIN_CHECK(capacity >= kFewest, "a window of ", capacity, " values, want ", kFewest, " or more");
}

double SpikeWindow::score(double value) const { return deviation_ > 0 ? (value - median_) / deviation_ : 0; }

void SpikeWindow::record(double value) {
  if (!std::isfinite(value) || std::abs(value) >= kImplausible) return;
  if (!is_spike(value)) {
    rejected_.clear();
    return accept(value);
  }
  rejected_.push_back(value);
  if (std::ssize(rejected_) < kFewest) return;
  accepted_.clear();
  for (const double of_new_level : std::exchange(rejected_, {})) accept(of_new_level);
}

void SpikeWindow::accept(double value) {
  accepted_.push_back(value);
  if (std::ssize(accepted_) > capacity_) accepted_.erase(accepted_.begin());
  update_statistics();
}

void SpikeWindow::update_statistics() {
  median_ = deviation_ = 0;
  limit_ = std::numeric_limits<double>::infinity();
  if (std::ssize(accepted_) < kFewest) return;
  median_ = median_of(accepted_);
  std::vector<double> distances;
  for (const double value : accepted_) distances.push_back(std::abs(value - median_));
  deviation_ = std::max(kNormal * median_of(std::move(distances)), kLeastDeviation * std::abs(median_));
  limit_ = median_ + most_score_ * deviation_;
}

std::string SpikeWindow::to_text() const { return text_of(accepted_) + kRejectedFollow + text_of(rejected_); }

void SpikeWindow::from_text(const std::string& text) {
  const size_t middle = std::min(text.find(kRejectedFollow), text.size());
  accepted_ = values_of(std::string_view(text).substr(0, middle));
  rejected_ = values_of(std::string_view(text).substr(std::min(middle + 1, text.size())));
  if (std::ssize(accepted_) > capacity_) accepted_.erase(accepted_.begin(), accepted_.end() - capacity_);
  update_statistics();
}

}  // namespace retain
