#include "launch/job_time.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "kernels/core/error.h"

namespace retain {

namespace {

using std::chrono::seconds;

std::optional<int64_t> parse_count(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && error == std::errc() && end == text.data() + text.size() && value >= 0;
  return whole ? std::optional(value) : std::nullopt;
}

/// What follows on "Name=" up to a blank.
std::string_view value_of(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    if (at > 0 && text[at - 1] != ' ' && text[at - 1] != '\n') continue;  // the end of another name
    const std::string_view rest = text.substr(at + name.size());
    return rest.substr(0, rest.find_first_of(" \n"));
  }
  return {};
}

}  // namespace

std::optional<int64_t> parse_slurm_time(std::string_view text) {
  int64_t days = 0;
  const size_t dash = text.find('-');
  if (dash != text.npos) {
    const auto count = parse_count(text.substr(0, dash));
    if (!count) return std::nullopt;
    days = *count;
    text.remove_prefix(dash + 1);
  }
  int64_t total = 0;
  int parts = 0;
  for (bool more = true; more; ++parts) {
    const size_t colon = text.find(':');
    more = colon != text.npos;
    const auto count = parse_count(text.substr(0, colon));
    if (!count || parts == 3) return std::nullopt;
    total = 60 * total + *count;
    if (more) text.remove_prefix(colon + 1);
  }
  if (parts < 2) return std::nullopt;
  return 86'400 * days + total;
}

std::optional<int64_t> parse_time_left(std::string_view scontrol) {
  const auto limit = parse_slurm_time(value_of(scontrol, "TimeLimit="));
  const auto run = parse_slurm_time(value_of(scontrol, "RunTime="));
  return limit && run ? std::optional(*limit - *run) : std::nullopt;
}

std::string ask_scontrol(const std::string& job) {
  if (!parse_count(job)) return "";
  const std::string command = "timeout -k 1 5 scontrol --oneliner show job " + job + " 2>/dev/null </dev/null";
  std::FILE* const pipe = ::popen(command.c_str(), "re");
  if (!pipe) return "";
  std::string text;
  std::array<char, 4096> block{};
  while (const size_t n = std::fread(block.data(), 1, block.size(), pipe)) text.append(block.data(), n);
  return ::pclose(pipe) == 0 ? text : "";
}

std::optional<TimeLimit> find_time_limit(int64_t wall_time_seconds, const TimeSources& sources,
                                         std::vector<std::string>& doubts) {
  std::optional<TimeLimit> limit;
  const auto consider = [&](std::chrono::steady_clock::time_point end, const std::string& source) {
    if (!limit || end < limit->end) limit = {end, source};
  };
  if (wall_time_seconds > 0)
    consider(sources.start + seconds(wall_time_seconds), concat("limits.wall_time = ", wall_time_seconds));
  const std::optional<std::string> end_time = sources.variables("SLURM_JOB_END_TIME");
  const std::optional<std::string> job = sources.variables("SLURM_JOB_ID");
  const auto end = parse_count(end_time.value_or(""));
  if (end && *end > sources.unix_seconds) {
    consider(sources.now + seconds(*end - sources.unix_seconds), "SLURM_JOB_END_TIME");
    return limit;
  }
  if (end_time) {
    doubts.push_back(concat("SLURM_JOB_END_TIME = ", *end_time, " is no time to come by the clock of this machine, ",
                            sources.unix_seconds, ": not used"));
  }
  if (!job) return limit;
  if (const auto left = parse_time_left(sources.scontrol(*job)))
    consider(sources.now + seconds(std::max<int64_t>(*left, 0)), "scontrol show job " + *job);
  return limit;
}

}  // namespace retain
