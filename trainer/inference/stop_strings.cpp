#include "trainer/inference/stop_strings.h"

#include <algorithm>
#include <utility>

namespace retain {

std::string StopStrings::add(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    found_ = true;
    held_.resize(first);
    return std::exchange(held_, "");
  }
  size_t kept = 0;  // bytes at the end that begin a string
  for (const std::string& stop : stops_)
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > kept; --length)
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length))) kept = length;
  std::string certain = held_.substr(0, held_.size() - kept);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopStrings::rest() { return std::exchange(held_, ""); }

}  // namespace retain
