#include "parallel/health/hang_limit.h"

#include <algorithm>

namespace retain {

namespace {

using Milliseconds = HangLimit::Milliseconds;
constexpr Milliseconds kLeast{10'000}, kMost{60'000}, kPatient{600'000};

}  // namespace

Milliseconds HangLimit::usual() const {
  if (configured_) return *configured_;
  return std::max(kLeast, std::min(5 * longest_gap_, std::max(kMost, 2 * longest_gap_)));
}

Milliseconds HangLimit::patient() const { return configured_ ? 10 * usual() : std::max(kPatient, 10 * usual()); }

void ProgressClock::look(const Activity::View& view, Milliseconds passed, HangLimit& limit) {
  if (view.signs == signs_) {
    idle_ += passed;
    patient_ = patient_ || view.patient;
    return;
  }
  if (!patient_ && signs_ >= 0) limit.saw_gap(idle_ + passed);
  signs_ = view.signs;
  patient_ = view.patient;
  idle_ = Milliseconds{0};
}

}  // namespace retain
