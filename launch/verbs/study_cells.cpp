// retain study plan, run, status and collect: from a study's file to a table of runs. What they come to is computed in
// trainer/study; these read, write and start.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <optional>
#include <system_error>

#include "kernels/backend.h"
#include "kernels/core/text.h"
#include "launch/config/saved.h"
#include "launch/config/schema.h"
#include "launch/config/study_reader.h"
#include "launch/jobs/job.h"
#include "launch/jobs/process.h"
#include "launch/jobs/shell.h"
#include "launch/jobs/study_array.h"
#include "launch/jobs/study_queue.h"
#include "launch/verbs/verbs.h"
#include "trainer/checkpoint/lock.h"
#include "trainer/data/token_set.h"
#include "trainer/file.h"
#include "trainer/run/run_directory.h"
#include "trainer/study/results.h"
#include "trainer/study/runs_csv.h"

namespace retain {
namespace {

namespace fs = std::filesystem;
using study::Plan;
using study::Run;
using study::Study;

constexpr int64_t kLargestPlan = int64_t{64} << 20, kLargestConfig = int64_t{1} << 20;  // bytes

void say(const std::string& line) { fmt::print(stderr, "retain study: {}\n", line); }

/// This program, by a path that other nodes know too.
std::string own_path() { return fs::read_symlink("/proc/self/exe").string(); }

// ---- planning ----

/// What rules gave is within the bounds of each key too.
void check_readable(const Run& run, const std::string& text, int ranks) {
  const std::string name = run.name + "/config.yaml";
  const Outcome read = attempt([&] { parse_config({.files = {{name, text}}, .working_directory = "/"}, {}, ranks); });
  if (!read.ok) throw ConfigError(ErrorKind::kConfig, concat("the configuration of ", run.name, ":\n", read.message));
}

/// Sizes of the training sets; none where one is not there yet.
std::vector<study::SetSize> set_sizes(const Study& study) {
  std::vector<study::SetSize> sets;
  double weights = 0;
  for (const DataSource& source : study.base.data.train) weights += source.weight;
  for (const DataSource& source : study.base.data.train) {
    const Outcome opened = attempt([&] { sets.push_back({source.weight / weights, TokenSet(source.path).tokens()}); });
    if (opened.ok) continue;
    if (opened.kind != ErrorKind::kMissingInput) opened.throw_if_failed();
    say(fmt::format("{} is not there yet: epochs are not known, limits.max_epochs is not looked at", source.path));
    return {};
  }
  return sets;
}

bool has_begun(const RunDirectory& directory) { return directory.has("metrics.jsonl") || directory.has("checkpoints"); }

/// A run that has begun goes on with what it began with, or not at all.
void refuse_other_settings(const Plan& plan, const Run& run) {
  const RunDirectory directory(plan.run_directory(run.name));
  if (!has_begun(directory) || !directory.has("config.yaml")) return;
  const SavedConfig before =
      read_saved_config(read_text(File::open_input(directory.file("config.yaml")), kLargestConfig));
  std::string changed;
  for (const auto& [key, now] : run_keys(run.config))
    if (before.values.at(key) != now.value)
      changed += fmt::format("\n  {}: began with {}, the study now says {}", key, before.values.at(key), now.value);
  if (!changed.empty())
    throw ConfigError(ErrorKind::kConfig, concat(run.name, " has begun with other settings:", changed,
                                                 "\nchoose another study.dir, take the change back, or delete ",
                                                 directory.path(), " to train it anew"));
}

void write_plan(const Plan& plan, const std::vector<Run>& runs, const std::vector<std::string>& configs,
                const std::string& source) {
  for (const Run& run : runs) refuse_other_settings(plan, run);
  const Outcome written = attempt([&] {
    for (size_t i = 0; i < runs.size(); ++i) {
      const RunDirectory directory(plan.run_directory(runs[i].name));
      fs::create_directories(directory.path());
      if (!has_begun(directory)) directory.write("config.yaml", configs[i]);
    }
    replace_file(plan.dir + "/study.yaml", source);
    replace_file(plan.dir + "/plan.csv", to_csv(plan));
    replace_file(plan.dir + "/plan.json", to_json(plan));
  });
  if (!written.ok)
    throw Error(ErrorKind::kCannotCreate, concat("cannot write the plan into ", plan.dir, ": ", written.message));
}

Plan plan_study(const std::string& path, bool write) {
  const Study study = load_study(path);
  std::vector<std::string> doubts, configs;
  const std::vector<Run> runs = study::make_runs(study, doubts);
  for (const Run& run : runs) {
    configs.push_back(run_config_text(run));
    check_readable(run, configs.back(), study.machine.ranks);
  }
  Plan plan = study::make_plan(study, runs, set_sizes(study));
  for (const std::string& doubt : doubts) say(doubt);
  if (write) write_plan(plan, runs, configs, read_config_file(path));
  return plan;
}

Plan read_plan(const std::string& dir) {
  std::error_code error;
  const std::string whole = fs::weakly_canonical(dir, error).string(), file = whole + "/plan.json";
  if (error || !fs::exists(file, error))
    throw Error(
        ErrorKind::kMissingInput,
        concat(escape_controls(dir), " holds no plan.json: `retain study plan STUDY.yaml` makes the study's folder"));
  return study::plan_from_json(read_text(File::open_input(file), kLargestPlan), whole);
}

struct Found {
  std::vector<study::Progress> progress;
  std::vector<study::RunState> states;
};

/// `table`: a runs.csv whose cells count as trained; "": none.
Found look_at(const Plan& plan, const std::vector<study::FinishedRow>& finished, const std::string& table) {
  Found found;
  for (const study::PlannedRun& run : plan.runs)
    found.progress.push_back(study::read_progress(plan.run_directory(run.name)));
  found.states = study::states_of(plan, found.progress);
  study::take_finished(plan, finished, table, found.progress, found.states);
  return found;
}

std::vector<study::FinishedRow> finished_rows(const std::string& table) {
  return table.empty() ? std::vector<study::FinishedRow>{} : study::read_runs_csv(table);
}

// ---- running ----

std::vector<std::vector<std::string>> chains_left(const Plan& plan, const study::Queue& queue) {
  std::vector<std::vector<std::string>> chains = study::chains_of(plan);
  std::erase_if(chains, [&](const std::vector<std::string>& chain) {
    return std::ranges::none_of(chain, [&](const std::string& name) {
      const size_t run = plan.index_of(name);
      const study::State state = queue.states()[run].state;
      return queue.wants(run) && state != study::State::kDone && state != study::State::kDiverged;
    });
  });
  for (std::vector<std::string>& chain : chains)
    std::erase_if(chain, [&](const std::string& name) { return !queue.wants(plan.index_of(name)); });
  return chains;
}

int submit_array(const StudyRunOptions& options, const Plan& plan, const study::Queue& queue) {
  const std::vector<std::vector<std::string>> chains = chains_left(plan, queue);
  if (chains.empty()) {
    say("nothing is left to train");
    return 0;
  }
  const fs::path folder = fs::path(plan.dir) / "jobs";
  std::error_code error;
  int number = 1;
  while (fs::exists(folder / fmt::format("{:04d}.sbatch", number), error)) ++number;
  const StudyArray array{.name = fs::path(plan.dir).filename().string(),
                         .files = (folder / fmt::format("{:04d}", number)).string(),
                         .program = own_path(),
                         .max_jobs = options.max_jobs,
                         .limit_seconds = options.limit_seconds,
                         .account = options.account,
                         .partition = options.partition,
                         .site = options.site.empty() ? Site{} : read_site(options.site)};
  const std::string text = study_array_text(plan, chains, array);
  if (options.dry_run) {
    std::cout << text;
    return 0;
  }
  fs::create_directories(folder, error);
  const std::string file = array.files + ".sbatch";
  replace_file(file, text);
  std::string answer;
  if (const int code = run_command(submit_command(Scheduler::kSlurm, file), answer); code != 0) {
    fs::remove(file, error);
    throw Error(ErrorKind::kDevice, concat("sbatch did not take the job (exit ", code, "): ", escape_controls(answer)));
  }
  fmt::print("job {}: {}\n", job_id_of(answer), file);
  return 0;
}

void print_commands(const Plan& plan, const study::Queue& queue) {
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const study::State state = queue.states()[i].state;
    std::string line = fmt::format("{} ({})", plan.runs[i].name, state_name(state));
    if (state == study::State::kPlanned || state == study::State::kFailed)
      line += ": " + quote_for_shell(study_command(plan, plan.runs[i], own_path()));
    if (queue.wants(i)) fmt::print("{}\n", line);
  }
}

}  // namespace

int study_plan(const StudyPlanOptions& options) {
  const Plan plan = plan_study(options.study, !options.dry_run);
  std::cout << (options.json ? study::to_json(plan) : study::to_table(plan));
  if (!options.dry_run) say(fmt::format("written to {}; `retain study run {}` trains", plan.dir, plan.dir));
  return 0;
}

int study_run(const StudyRunOptions& options) {
  std::error_code error;
  const bool folder = fs::is_directory(options.study, error);
  const Plan plan = folder ? read_plan(options.study) : plan_study(options.study, !options.dry_run);
  const bool queue_here = options.scheduler == StudyScheduler::kLocal && !options.dry_run;
  std::optional<RunLock> lock;
  if (queue_here && !options.shared) lock.emplace(plan.dir, LockTiming{}, say);
  const std::vector<study::FinishedRow> finished = finished_rows(options.runs);
  const study::Queue queue(plan, look_at(plan, finished, options.runs).states, options.only);
  if (options.scheduler == StudyScheduler::kSlurm) return submit_array(options, plan, queue);
  if (options.dry_run) {
    print_commands(plan, queue);
    return 0;
  }
  const int code = run_study_queue(plan, {.program = own_path(),
                                          .max_jobs = options.max_jobs,
                                          .gpus = plan.on_gpu ? std::min(plan.gpus, cuda_device_count()) : 0,
                                          .only = options.only,
                                          .finished = finished,
                                          .finished_in = options.runs,
                                          .limit = std::chrono::seconds(options.limit_seconds)});
  const Found found = look_at(plan, finished, options.runs);
  std::cout << study::status_table(plan, found.progress, found.states);
  return code;
}

int study_status(const StudyStatusOptions& options) {
  const Plan plan = read_plan(options.dir);
  const Found found = look_at(plan, finished_rows(options.runs), options.runs);
  std::cout << (options.json ? study::status_json(plan, found.progress, found.states)
                             : study::status_table(plan, found.progress, found.states));
  return 0;
}

int study_collect(const StudyCollectOptions& options) {
  const Plan plan = read_plan(options.dir);
  std::error_code error;
  const bool more = fs::exists(options.out, error) && fs::file_size(options.out, error) > 0;
  const std::vector<study::FinishedRow> before = finished_rows(more ? options.out : "");
  const Found found = look_at(plan, {}, "");
  const study::MergedRuns merged = study::merge_runs(plan, found.progress, found.states, before);
  replace_file(options.out, merged.csv);
  if (!merged.conflicts.empty()) {
    std::string named;
    for (const std::string& conflict : merged.conflicts) named += "\n  " + conflict;
    throw Error(ErrorKind::kData,
                concat(options.out, " had other results than ", plan.dir, ":", named,
                       "\nits rows stay; delete them from it and collect again to have the folder's"));
  }
  const study::Totals totals = [&] {
    const Found all = look_at(plan, finished_rows(options.out), options.out);
    return study::totals_of(plan, all.progress, all.states);
  }();
  say(fmt::format("{}: {} of {} cells are done, {} diverged{}", options.out, totals.count(study::State::kDone),
                  plan.cells(), totals.count(study::State::kDiverged),
                  before.empty() ? "" : fmt::format("; it had {} finished rows", before.size())));
  return 0;
}

}  // namespace retain
