#include "launch/jobs/supervisor.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>

#include "kernels/core/error.h"
#include "trainer/run/run_directory.h"

namespace retain {
namespace {

constexpr size_t kCausesTold = 3;
constexpr std::chrono::milliseconds kBetweenLooks{100};
constexpr std::chrono::seconds kBetweenBlows{2};

void say(const std::string& line) { fmt::print(stderr, "retain launch: {}\n", line); }

/// What a run leaves behind, to be compared before and after a life.
struct Traces {
  explicit Traces(const RunDirectory& directory) {
    const std::vector<std::string> latest = directory.last_lines("checkpoints/latest");
    if (!latest.empty()) newest = latest.back();
    std::error_code error;
    const auto time = std::filesystem::last_write_time(directory.file("FAILED"), error);
    if (!error) failed = time;
    const std::vector<std::string> events = directory.last_lines("events.jsonl");
    if (!events.empty()) last_event = events.back();
  }
  std::string newest;  ///< checkpoint
  std::string last_event;
  std::optional<std::filesystem::file_time_type> failed;
};

Life life_between(const RunDirectory& directory, const Traces& before, int exit_code) {
  const Traces after(directory);
  Life life{.exit_code = exit_code, .saved = after.newest != before.newest, .cause = fmt::format("exit {}", exit_code)};
  if (exit_code > 128 && exit_code <= 128 + SIGRTMAX) life.cause += fmt::format(" (128 + signal {})", exit_code - 128);
  if (after.failed && after.failed != before.failed)
    for (const std::string& line : directory.last_lines("FAILED")) life.cause += ": " + line;
  const size_t stop = after.last_event.find("\"event\":\"stop\"");
  life.stop_file = after.last_event != before.last_event && stop != std::string::npos &&
                   after.last_event.find("/STOP", stop) != std::string::npos;
  life.cause += after.newest.empty() ? ", nothing saved" : ", newest checkpoint " + after.newest;
  return life;
}

/// How long a run that was alive has not renewed the stamp of its lock, as it does every few seconds.
class LifeSign {
 public:
  explicit LifeSign(const RunDirectory& directory) : lock_(directory.file("LOCK")), last_(look()) {}

  /// From now on it is to end: a lock that never came counts too.
  void expect_end() {
    if (!alive_) since_ = Clock::now();
    alive_ = true;
  }

  std::chrono::steady_clock::duration silence() {
    const Stamp now = look();
    if (now != last_) {
      last_ = now;
      alive_ = true;
      since_ = Clock::now();
    }
    return alive_ ? Clock::now() - since_ : Clock::duration{};
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Stamp = std::optional<std::filesystem::file_time_type>;
  Stamp look() const {
    std::error_code error;
    const auto time = std::filesystem::last_write_time(lock_, error);
    return error ? Stamp() : Stamp(time);
  }

  std::string lock_;
  Stamp last_;
  bool alive_ = false;
  Clock::time_point since_ = Clock::now();
};

/// The script of a job gives its mpirun up at the third time.
void end_by_force(ChildProcess& child) {
  for (int blow = 0; blow < 3 && !child.ended(); ++blow) {
    child.signal(SIGTERM);
    std::this_thread::sleep_for(kBetweenBlows);
  }
}

/// Until the child ends; sets `told` when it was asked to end.
int watch_over(ChildProcess& child, const SignalQueue& signals, LifeSign life, const SupervisedRun& run, bool& told) {
  while (!child.ended()) {
    if (life.silence() > run.silence) {
      say(fmt::format("the run gave no sign of life for {} s, and its launcher does not end: it is ended",
                      run.silence.count()));
      end_by_force(child);
    }
    const int signal = signals.take(kBetweenLooks);
    if (signal == 0 || signal == SIGCHLD) continue;
    const bool end = signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
    child.signal(end ? SIGTERM : signal);
    if (signal != SIGUSR2) {
      told = true;
      life.expect_end();
    }
    if (end) say("the run is asked to save and end; again to end it at once");
  }
  return *child.ended();
}

}  // namespace

Verdict verdict_of(int exit_code) {
  if (exit_code == 0) return Verdict::kDone;
  if (exit_code == 75) return Verdict::kGoesOn;
  // Codes below the first of ours are mpirun's own: of a node that it lost, or could not start on.
  const bool launcher = exit_code < static_cast<int>(ErrorKind::kUsage);
  const bool death = launcher || exit_code == static_cast<int>(ErrorKind::kInternal) || exit_code >= 128;
  return death ? Verdict::kMayRecover : Verdict::kWouldRepeat;
}

bool RestartPolicy::goes_on_after(const Life& life) {
  lives_.push_back(life);
  if (life.saved) fruitless_ = 0;
  switch (verdict_of(life.exit_code)) {
    case Verdict::kDone: return false;
    case Verdict::kWouldRepeat: return false;
    case Verdict::kGoesOn: return !life.stop_file && fruitless_++ < restarts_;
    case Verdict::kMayRecover: return fruitless_++ < restarts_;
  }
  return false;
}

std::vector<std::string> RestartPolicy::last_causes() const {
  std::vector<std::string> causes;
  for (size_t i = lives_.size() - std::min(lives_.size(), kCausesTold); i < lives_.size(); ++i)
    causes.push_back(fmt::format("start {}: {}", i + 1, lives_[i].cause));
  return causes;
}

int supervise(const SupervisedRun& run) {
  const SignalQueue signals({SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD});
  const RunDirectory directory(run.directory);
  RestartPolicy policy(run.restarts);
  while (true) {
    const std::vector<std::string> command = run.next_command();
    const Traces before(directory);
    bool told = false;
    const LifeSign life_sign(directory);
    ChildProcess child(command, ChildProcess::Output::kShared);
    const int code = watch_over(child, signals, life_sign, run, told);
    const Life life = life_between(directory, before, code);
    const bool again = policy.goes_on_after(life);
    if (told || verdict_of(code) == Verdict::kDone) return code;
    if (!again) {
      say("not started again:");
      for (const std::string& cause : policy.last_causes()) say("  " + cause);
      return code;
    }
    say(fmt::format("{}; starts again", life.cause));
  }
}

}  // namespace retain
