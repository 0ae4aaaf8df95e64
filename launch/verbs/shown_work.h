// How far a verb's long work is, on stderr, as of a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "trainer/run/progress_bar.h"

namespace retain {

class ShownWork {
 public:
  /// "exporting", "bytes"
  ShownWork(std::string what, std::string unit) : what_(std::move(what)), unit_(std::move(unit)) {}

  void at(int64_t done, int64_t total) {
    if (!work_) work_.emplace(bar_, WorkState{.what = what_, .unit = unit_, .done = done, .total = total});
    work_->at(done);
  }

 private:
  std::string what_, unit_;
  Log log_{LogOptions{}};
  ProgressBar bar_{log_};
  std::optional<ProgressBar::Work> work_;
};

}  // namespace retain
