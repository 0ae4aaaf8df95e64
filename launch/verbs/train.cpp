// retain train: reads the configuration once for all ranks, builds the session, runs.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/config/reader.h"
#include "launch/config/saved.h"
#include "launch/config/schema.h"
#include "launch/preflight.h"
#include "launch/session.h"
#include "launch/signals.h"
#include "launch/verbs/verbs.h"
#include "launch/version.h"
#include "parallel/host_name.h"
#include "trainer/run/training_run.h"

namespace retain {

namespace {

constexpr int kStoppedOnRequest = 75;

std::string environment_json(const MpiEnvironment* mpi, const Backend& backend) {
  const nlohmann::ordered_json json = {{"version", version()},
                                       {"compiler", compiler()},
                                       {"ranks", mpi ? mpi->world_size() : 1},
                                       {"host", host_name()},
                                       {"device", backend.device_description()}};
  return json.dump(2) + "\n";
}

constexpr int64_t kLargestConfig = int64_t{1} << 20;  // bytes

bool same_values(const std::string& resolved, const RunIdentity& now) {
  SavedConfig saved;
  const Outcome read = attempt([&] { saved = read_saved_config(resolved); });
  return read.ok && saved.unknown.empty() && std::ranges::all_of(saved.values, [&](const auto& entry) {
           return now.keys.at(entry.first).value == entry.second;
         });
}

// Where values change, what resolved.yaml said until this step stays under a name of its own.
void keep_older_values(const RunDirectory& directory, const RunIdentity& now, int64_t step) {
  const std::string name = directory.file("resolved.yaml");
  if (!std::filesystem::exists(name)) return;
  const std::string resolved = read_text(File::open_input(name), kLargestConfig);
  if (same_values(resolved, now)) return;
  std::string kept = fmt::format("resolved-until-step-{:08d}.yaml", step);
  for (int more = 2; std::filesystem::exists(directory.file(kept)); ++more)  // nothing was saved between
    kept = fmt::format("resolved-until-step-{:08d}-{}.yaml", step, more);
  directory.write(kept, resolved);
}

int run_training(SignalWishes& signals, const TrainOptions& options, const MpiEnvironment* mpi,
                 const ParsedConfig& parsed, const Target& target, std::unique_ptr<Communicator> host,
                 const RunDirectory& directory, const RunLock* lock, Log& log) {
  const bool first = host->rank() == 0;
  const int ranks = host->size();
  const Config& config = parsed.config;
  if (first) {
    for (const char* mark : {"FAILED", "STOP"}) directory.remove(mark);
  }

  Session session(target, config.mesh(ranks), mpi, std::move(host));
  const RunIdentity identity{.resolved_config = parsed.resolved,
                             .keys = run_keys(config),
                             .build = version() + " " + compiler(),
                             .read_config = read_saved_config};

  const RunStart start{
      .resume = options.resume, .init_from = options.init_from, .allow_changed = options.allow_changed};
  TrainingRun training(session.backend(), session.mesh(), log, config, target, identity, start, lock);
  if (first) {  // not before a resume is accepted
    keep_older_values(directory, identity, training.begun_at_step());
    directory.write("config.yaml", parsed.source);
    directory.write("resolved.yaml", identity.resolved_config);
    directory.write("environment.json", environment_json(mpi, session.backend()));
    directory.remove("DONE");  // until here a record of what the run was
  }
  const RunOutcome outcome = training.run(
      [&] {
        return Wishes{.stop = signals.stop_requested() || (first && directory.stop_file_exists()),
                      .save = signals.take_save_request()};
      },
      ProfiledSteps{.first = options.profile.first, .last = options.profile.last});
  if (first) {
    directory.remove("STOP");
    if (outcome == RunOutcome::kFinished) directory.write("DONE", "");
  }
  return outcome == RunOutcome::kFinished ? 0 : kStoppedOnRequest;
}

}  // namespace

int train(const TrainOptions& options, const MpiEnvironment* mpi) {
  SignalWishes signals;
  std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const bool first = host->rank() == 0;
  const LocalPlace place = local_place(mpi);
  const ParsedConfig parsed = read_config_once(*host, options.config, options.sets);
  const Target target = agree_on_target(*host, parsed.config, cuda_device_count() > 0, threads_per_rank(place));
  check_beginning(*host, options, parsed.config.run);
  const std::vector<SetNote> notes = check_inputs(*host, parsed.config, target);

  const RunDirectory directory(parsed.config.run.dir);
  std::optional<RunLock> lock;
  const auto say = [](const std::string& line) { fmt::print(stderr, "retain: {}\n", line); };  // there is no log yet
  // Whoever holds the directory is named first: the memory may be missing because that run has it. A run that is
  // refused makes no directory.
  std::error_code error;  // a path that cannot be looked at is create()'s to report
  if (first && std::filesystem::exists(directory.file("LOCK"), error))
    lock.emplace(directory.path(), LockTiming{}, say);
  check_all_memory(*host, parsed.config, target, place);
  if (first) {
    directory.create();
    if (!lock) lock.emplace(directory.path(), LockTiming{}, say);
  }
  Log log({.world_rank = host->rank(), .host = mpi ? mpi->host() : "", .file = first ? directory.file("log.txt") : ""});
  for (const std::string& doubt : parsed.doubts) log.warn(doubt);
  for (const SetNote& note : notes) {
    const std::string text = concat(note.sets, ": ", note.text);
    note.warning ? log.warn(text) : log.info(text);
  }
  const int world_rank = host->rank();
  // Only leaves the reason where the run's other files are; main prints it and ends the program.
  const auto leave = [&](const std::string& reason) {
    if (first) directory.write("FAILED", concat("rank ", world_rank, ": ", reason, "\n"));
  };
  try {
    return run_training(signals, options, mpi, parsed, target, std::move(host), directory, lock ? &*lock : nullptr,
                        log);
  } catch (const Error& error) {
    const bool memory = error.kind() == ErrorKind::kOutOfMemory;
    const std::string reason = concat(error.what(), memory ? "; 'retain plan' lists what a rank takes" : "");
    if (error.kind() != ErrorKind::kCannotCreate) leave(reason);
    if (memory) throw Error(error.kind(), reason);
    throw;
  }
}

}  // namespace retain
