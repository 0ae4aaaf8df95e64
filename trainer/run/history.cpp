#include "trainer/run/history.h"

#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "trainer/file.h"

namespace retain {

namespace {

using Json = nlohmann::json;

constexpr int64_t kReadBytes = int64_t{16} << 20;  // at once

int64_t whole(const Json& json, const char* key, int64_t otherwise) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
}

double real(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0;
}

bool is_value(const std::string& key) { return key != "step" && key != "tokens" && key != "time" && key != "start"; }

}  // namespace

bool RunHistory::Tail::read(std::vector<std::string>& lines, bool& anew) {
  File file;
  try {
    file = File::open_given(path_);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kMissingInput) return false;
    throw;
  }
  struct stat about {};
  if (fstat(file.descriptor(), &about) != 0) throw_errno(ErrorKind::kIo, "fstat", path_, errno);
  if (about.st_ino != inode_ || file.bytes() < read_bytes_) {
    anew = read_bytes_ > 0;
    read_bytes_ = 0;
  }
  inode_ = about.st_ino;
  std::string text;
  while (read_bytes_ + std::ssize(text) < file.bytes()) {
    const int64_t known = std::ssize(text), more = std::min(kReadBytes, file.bytes() - read_bytes_ - known);
    text.resize(static_cast<size_t>(known + more));
    file.read(text.data() + known, more, read_bytes_ + known);
    size_t begin = 0;
    for (size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
      lines.push_back(text.substr(begin, end - begin));
    read_bytes_ += static_cast<int64_t>(begin);
    text.erase(0, begin);
  }
  return true;
}

RunHistory::RunHistory(std::string directory)
    : directory_(std::move(directory)),
      metrics_(directory_ + "/metrics.jsonl"),
      events_file_(directory_ + "/events.jsonl") {}

const std::vector<HistoryPoint>& RunHistory::series(const std::string& name) const {
  static const std::vector<HistoryPoint> kNone;
  const auto found = series_.find(name);
  return found == series_.end() ? kNone : found->second;
}

void RunHistory::refresh() {
  std::vector<std::string> metrics, events;
  bool other_metrics = false, other_events = false;
  const bool has_metrics = metrics_.read(metrics, other_metrics);
  const bool has_events = events_file_.read(events, other_events);
  if (!has_metrics && !has_events)
    throw Error(ErrorKind::kMissingInput, directory_ + ": is no run directory: it has no metrics.jsonl");
  if (other_metrics) series_.clear();
  if (other_events) events_.clear();
  for (const std::string& line : metrics) take_metrics(line);
  for (const std::string& line : events) take_event(line);
}

void RunHistory::take_metrics(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return;
  const int64_t step = whole(json, "step", 0);
  if (json.contains("resume")) {  // what was reported of later steps is void
    for (auto& [name, points] : series_)
      points.erase(std::ranges::upper_bound(points, step, {}, &HistoryPoint::step), points.end());
    return;
  }
  int64_t tokens = whole(json, "tokens", -1);
  if (tokens < 0) {  // of a validation: those of the step
    const std::vector<HistoryPoint>& losses = series("loss");
    tokens = losses.empty() ? 0 : losses.back().tokens;
  }
  HistoryPoint point{
      .step = step, .tokens = tokens, .time = real(json, "time"), .start = whole(json, "start", 1), .value = 0};
  for (const auto& [name, value] : json.items()) {
    if (!is_value(name) || !value.is_number()) continue;
    point.value = value.get<double>();
    series_[name].push_back(point);
  }
}

void RunHistory::take_event(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("event") || !json["event"].is_string()) return;
  HistoryEvent event{.time = real(json, "time"),
                     .step = whole(json, "step", 0),
                     .kind = json["event"].get<std::string>(),
                     .values = {}};
  for (const auto& [name, value] : json.items()) {
    if (name != "time" && name != "step" && name != "event" && value.is_string())
      event.values[name] = value.get<std::string>();
  }
  events_.push_back(std::move(event));
}

}  // namespace retain
