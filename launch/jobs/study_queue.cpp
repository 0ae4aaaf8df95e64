#include "launch/jobs/study_queue.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "kernels/core/processors.h"
#include "kernels/core/text.h"
#include "launch/jobs/process.h"
#include "trainer/checkpoint/store.h"
#include "trainer/file.h"
#include "trainer/run/run_directory.h"
#include "trainer/run/training_run.h"
#include "trainer/study/results.h"

namespace retain {
namespace {

namespace fs = std::filesystem;
using study::PlannedRun;
using study::Progress;
using study::State;

constexpr std::chrono::milliseconds kBetweenLooks{500};
constexpr const char* kOutputFile = "output.txt";
constexpr size_t kLinesOfReason = 3;
constexpr double kSecondsToSave = 20;

using Clock = std::chrono::steady_clock;

void say(const std::string& line) { fmt::print(stderr, "retain study: {}\n", line); }

std::string last_words(const std::vector<std::string>& lines, size_t most) {
  std::string text;
  for (size_t i = lines.size() - std::min(lines.size(), most); i < lines.size(); ++i)
    text += (text.empty() ? "" : " ") + escape_controls(lines[i]);
  return text;
}

/// A run that is being trained.
struct Job {
  size_t run;
  ChildProcess child;
  fs::file_time_type begun;
};

class Runner {
 public:
  Runner(const study::Plan& plan, const StudyQueueOptions& options, int slots)
      : plan_(plan),
        options_(options),
        slots_(static_cast<size_t>(slots)),
        progress_(look()),
        queue_(plan, states(), options.only) {}

  int run() {
    const SignalQueue signals({SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD});
    tell_diverged();
    while (stopping_ ? queue_.running_here() > 0 : !queue_.over()) {
      if (!stopping_) start_what_can();
      if (!stopping_ && out_of_time()) break;
      const int signal = signals.take(kBetweenLooks);
      if (signal != 0 && signal != SIGCHLD && !ask_to_end()) return 128 + signal;
      for (std::optional<Job>& slot : slots_)
        if (slot && slot->child.ended()) end(slot);
      look_elsewhere();
    }
    return exit_code();
  }

 private:
  std::vector<Progress> look() const {
    std::vector<Progress> progress;
    for (const PlannedRun& run : plan_.runs) progress.push_back(study::read_progress(plan_.run_directory(run.name)));
    return progress;
  }

  /// As the folder has it, or the table.
  std::vector<study::RunState> states() {
    std::vector<study::RunState> states = study::states_of(plan_, progress_);
    study::take_finished(plan_, options_.finished, options_.finished_in, progress_, states);
    return states;
  }

  void start_what_can() {
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      const std::optional<size_t> next = slots_[slot] ? std::nullopt : next_in_time();
      if (next) start(slot, *next);
    }
  }

  /// What of the limit is left for training; runs are let save in the rest.
  double seconds_for_training() const {
    const std::chrono::duration<double> limit = options_.limit, spent = Clock::now() - begun_;
    return limit.count() - std::min(kSecondsToSave, limit.count() / 4) - spent.count();
  }

  double seconds_to_result(size_t run) const {
    return study::seconds_to_result(plan_, progress_, queue_.states(), run) * study::slowness(plan_, progress_);
  }

  std::optional<size_t> next_in_time() const {
    if (options_.limit.count() == 0) return queue_.next();
    const double left = seconds_for_training();
    if (left <= 0) return std::nullopt;
    const auto in_time = queue_.next([&](size_t run) { return seconds_to_result(run) <= left; });
    const auto never = [&](size_t run) { return seconds_to_result(run) > static_cast<double>(options_.limit.count()); };
    if (in_time) return in_time;
    if (const auto next = queue_.next(never)) return next;
    // A part that has begun nothing begins something, so that the same command again always comes further.
    return has_begun_ ? std::nullopt : queue_.next();
  }

  /// Nothing runs and nothing that is left would end in time. Lets what runs save when the time is over.
  bool out_of_time() {
    if (options_.limit.count() == 0) return false;
    if (queue_.running_here() == 0 && queue_.elsewhere().empty() && queue_.next()) {
      say(fmt::format("what is left would not end in the {:.0f} s that are: the same command goes on with it",
                      std::max(0.0, seconds_for_training())));
      interrupted_ = true;
      return true;
    }
    if (seconds_for_training() > 0) return false;
    if (queue_.running_here() > 0) {
      ask_to_end();
    } else if (!queue_.over()) {  // what is left runs elsewhere
      interrupted_ = true;
      return true;
    }
    return false;
  }

  void start(size_t slot, size_t index) {
    has_begun_ = true;
    const PlannedRun& run = plan_.runs[index];
    const RunDirectory directory(plan_.run_directory(run.name));
    directory.remove(study::kEndingFile);
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    const ChildProcess::Setting setting{
        .output = ChildProcess::Output::kFile,
        .file = directory.file(kOutputFile),
        .environment =
            study_environment(static_cast<int>(slot), static_cast<int>(slots_.size()), plan_.ranks, options_.gpus,
                              visible ? visible : "", threads_of_rank(read_processor_limits(), 1))};
    const auto now = fs::file_time_type::clock::now();
    slots_[slot].emplace(Job{index, ChildProcess(study_command(plan_, run, options_.program), setting), now});
    queue_.started(index);
    say(fmt::format("{} {} ({} of {} steps to go)", run.name, progress_[index].step > 0 ? "goes on" : "starts",
                    run.steps - std::max(run.first_step, progress_[index].step), run.steps));
  }

  /// The first time lets runs save; a second time has no patience.
  bool ask_to_end() {
    if (stopping_) return false;
    stopping_ = true;
    say("all runs are asked to save and end; again to end them at once");
    for (const std::optional<Job>& slot : slots_)
      if (slot) slot->child.signal(SIGUSR1);
    return true;
  }

  void end(std::optional<Job>& slot) {
    const size_t index = slot->run;
    const PlannedRun& run = plan_.runs[index];
    const int code = *slot->child.ended();
    // One that had no handler yet dies of the wish to end; nothing was lost.
    const bool asked = code == kStoppedOnRequest || (stopping_ && code == 128 + SIGUSR1);
    interrupted_ = interrupted_ || asked;
    if (code != 0 && !asked) keep_ending(run, code, slot->begun);
    slot.reset();
    queue_.ended(index);
    progress_[index] = study::read_progress(plan_.run_directory(run.name));
    queue_.update(states());
    tell_end(index, asked);
  }

  void keep_ending(const PlannedRun& run, int code, fs::file_time_type begun) const {
    const RunDirectory directory(plan_.run_directory(run.name));
    std::error_code error;
    const auto failed = fs::last_write_time(directory.file("FAILED"), error);
    const bool fresh = !error && failed >= begun;
    const std::vector<std::string> words = directory.last_lines(fresh ? "FAILED" : kOutputFile);
    replace_file(directory.file(study::kEndingFile),
                 study::ending_json({.exit_code = code, .reason = last_words(words, kLinesOfReason)}));
  }

  void tell_end(size_t index, bool asked) const {
    const PlannedRun& run = plan_.runs[index];
    const study::RunState& state = queue_.states()[index];
    const Progress& p = progress_[index];
    std::string text = fmt::format("{} {}", run.name, asked ? "saved and ended" : state_name(state.state));
    if (state.state == State::kDone)
      for (const auto& [set, loss] : p.eval_losses) text += fmt::format(" {}={:.4f}", set, loss);
    if (!state.reason.empty()) text += ": " + state.reason;
    say(text);
  }

  void tell_diverged() const {
    for (size_t i = 0; i < plan_.runs.size(); ++i)
      if (queue_.wants(i) && queue_.states()[i].state == State::kDiverged)
        say(fmt::format("{} diverged, and is not tried again: {}", plan_.runs[i].name, queue_.states()[i].reason));
  }

  /// Another process may have ended a run that this one waits for.
  void look_elsewhere() {
    const std::vector<size_t> elsewhere = queue_.elsewhere();
    if (elsewhere.empty()) return;
    if (!std::exchange(told_elsewhere_, true))
      say(fmt::format("{} is trained by another process: this one waits for its end", plan_.runs[elsewhere[0]].name));
    for (const size_t run : elsewhere) progress_[run] = study::read_progress(plan_.run_directory(plan_.runs[run].name));
    queue_.update(states());
  }

  int exit_code() const {
    for (size_t i = 0; i < plan_.runs.size(); ++i) {
      const bool failed = queue_.wants(i) && queue_.states()[i].state == State::kFailed;
      if (failed && !stopping_) return progress_[i].ending ? progress_[i].ending->exit_code : progress_[i].error_code;
    }
    return stopping_ || interrupted_ ? kStoppedOnRequest : 0;
  }

  const study::Plan& plan_;
  const StudyQueueOptions& options_;
  std::vector<std::optional<Job>> slots_;
  std::vector<Progress> progress_;
  study::Queue queue_;
  const Clock::time_point begun_ = Clock::now();
  bool stopping_ = false;     // everybody was asked to end
  bool interrupted_ = false;  // a run was, by whomever
  bool has_begun_ = false;    ///< a run, in this part
  bool told_elsewhere_ = false;
};

}  // namespace

std::vector<std::string> mpi_command(int ranks) {
  if (ranks == 1) return {};
  return {"mpirun", "-n", std::to_string(ranks), "--bind-to", "none", "--oversubscribe"};
}

std::vector<std::string> study_command(const study::Plan& plan, const PlannedRun& run, const std::string& program) {
  std::vector<std::string> command = mpi_command(plan.ranks);
  command.insert(command.end(), {program, "train", plan.run_directory(run.name) + "/config.yaml"});
  if (!run.parent.empty()) {
    const Path checkpoints = checkpoints_directory(plan.run_directory(run.parent));
    command.insert(command.end(), {"--resume", (checkpoints / step_name(run.first_step)).string()});
  }
  return command;
}

std::map<std::string, std::string> study_environment(int slot, int slots, int ranks, int gpus,
                                                     const std::string& visible, int threads) {
  std::map<std::string, std::string> variables;
  if (ranks > 1)  // as launch/mpirun.sh does
    variables = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  if (gpus == 0) {
    variables["OMP_NUM_THREADS"] = std::to_string(std::max(1, threads / slots / ranks));
    return variables;
  }
  std::vector<std::string> names;
  std::istringstream in(visible);
  for (std::string name; std::getline(in, name, ',');) names.push_back(name);
  if (names.empty())
    for (int gpu = 0; gpu < gpus; ++gpu) names.push_back(std::to_string(gpu));
  std::string mine;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto place = static_cast<size_t>((slot * ranks + rank) % gpus);
    mine += (rank > 0 ? "," : "") + names.at(place % names.size());
  }
  variables["CUDA_VISIBLE_DEVICES"] = mine;
  return variables;
}

int run_study_queue(const study::Plan& plan, const StudyQueueOptions& options) {
  const int devices = options.gpus > 0 ? options.gpus : plan.gpus;
  const int planned = std::max(1, devices * plan.jobs_per_gpu / plan.ranks);
  return Runner(plan, options, options.max_jobs > 0 ? options.max_jobs : planned).run();
}

}  // namespace retain
