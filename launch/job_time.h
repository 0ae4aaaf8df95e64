// When the job of this process ends: told by the scheduler, or by the configuration.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/path.h"
#include "trainer/run/time_limit.h"

namespace retain {

/// "1-02:03:04", "02:03:04", "03:04" or "UNLIMITED" as Slurm writes times: seconds; nothing for what is no time.
std::optional<int64_t> parse_slurm_time(std::string_view text);
/// What is left of the job that `scontrol show job` describes: TimeLimit − RunTime, which no clock has a part in.
std::optional<int64_t> parse_time_left(std::string_view scontrol);
/// `scontrol show job JOB`; "" when there is none, it fails, or it has not answered after some seconds.
std::string ask_scontrol(const std::string& job);

struct TimeSources {
  Variables variables = environment_variable;
  std::function<std::string(const std::string& job)> scontrol = ask_scontrol;
  int64_t unix_seconds = 0;  ///< now
  std::chrono::steady_clock::time_point now, start;
};
/// The earlier of the end of the job ($SLURM_JOB_END_TIME, else scontrol where there is a Slurm job) and of
/// `wall_time_seconds` (0: none) after the start. What it does not believe it says in `doubts`.
std::optional<TimeLimit> find_time_limit(int64_t wall_time_seconds, const TimeSources& sources,
                                         std::vector<std::string>& doubts);

}  // namespace retain
