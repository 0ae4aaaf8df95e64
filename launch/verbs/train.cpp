// retain train: reads the configuration once for all ranks, builds the session, runs.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/config/reader.h"
#include "launch/config/saved.h"
#include "launch/config/schema.h"
#include "launch/failure.h"
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
// For what is still to be written when a run ends well, or by an error that must not wait for a sick disk.
constexpr std::chrono::seconds kPatienceAtTheEnd{60}, kPatienceAfterAnError{2};

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

/// Whoever lost the directory to another run, or could not begin in it, leaves nothing there.
bool leaves_marks(const Failure& failure) { return failure.exit_code != static_cast<int>(ErrorKind::kCannotCreate); }

/// Names what helps where this rank ran out of memory.
int with_advice(const std::function<int()>& work) {
  try {
    return work();
  } catch (const SharedError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kOutOfMemory) throw;
    throw Error(error.kind(), concat(error.what(), "; 'retain plan' lists what a rank takes"));
  }
}

/// How the start before this one ended, unless it ended well and said so.
void tell_previous_end(Log& log, const RunDirectory& directory) {
  const std::vector<std::string> failed = directory.last_lines("FAILED"), events = directory.last_lines("events.jsonl");
  if (!failed.empty()) return log.warn("the start before this one failed: ", failed.front());
  std::error_code error;
  if (events.empty() || std::filesystem::exists(directory.file("DONE"), error)) return;
  const auto event = nlohmann::json::parse(events.back(), nullptr, false);
  if (!event.is_object() || !event.contains("event") || !event.contains("step")) return;
  for (const char* const end : {"done", "stop", "error"}) {
    if (event["event"] == end) return;
  }
  log.warn("the start before this one ended without a word, as a killed one does; its last event was ",
           event["event"].dump(), " at step ", event["step"].dump());
}

int run_training(SignalWishes& signals, const TrainOptions& options, const MpiEnvironment* mpi,
                 const ParsedConfig& parsed, const Target& target, std::unique_ptr<Communicator> host,
                 const RunDirectory& directory, const RunLock* lock, Log& log, Farewell farewell) {
  const bool first = host->rank() == 0;
  const int ranks = host->size();
  const Config& config = parsed.config;
  if (first) {
    tell_previous_end(log, directory);
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
  const auto poll_wishes = [&] {
    return Wishes{.stop = signals.stop_requested() || (first && directory.stop_file_exists()),
                  .save = signals.take_save_request()};
  };
  const auto train = [&]() -> int {
    training.begin();
    if (first) {  // not before a resume is accepted
      keep_older_values(directory, identity, training.begun_at_step());
      directory.write("config.yaml", parsed.source);
      directory.write("resolved.yaml", identity.resolved_config);
      directory.write("environment.json", environment_json(mpi, session.backend()));
      directory.remove("DONE");  // until here a record of what the run was
    }
    const RunOutcome outcome =
        training.run(poll_wishes, {.first = options.profile.first, .last = options.profile.last});
    if (first) {
      directory.remove("STOP");
      if (outcome == RunOutcome::kFinished) directory.write("DONE", "");
    }
    return outcome == RunOutcome::kFinished ? 0 : kStoppedOnRequest;
  };
  farewell.let_go = [&] { session.mesh().abort(); };
  farewell.record = [&, record = farewell.record](const Failure& failure, const std::string& line) {
    if (leaves_marks(failure)) {
      log.event(training.step(), "error", {{"code", std::to_string(failure.exit_code)}, {"reason", failure.message}});
    }
    record(failure, line);
  };
  return run_to_exit_code(
      mpi, [&] { return with_advice(train); }, farewell);
}

/// An error goes the way of all that the run says; its reason stays where the run's other files are.
Farewell farewell_of(Log& log, const RunDirectory& directory) {
  Farewell farewell;
  farewell.say = [&log](const std::string& line) {
    log.say_end(line);
    log.flush(kPatienceAfterAnError);
  };
  farewell.record = [&log, &directory](const Failure& failure, const std::string& line) {
    if (!leaves_marks(failure)) return;
    log.record_end(line);
    log.flush(kPatienceAfterAnError);
    directory.write("FAILED", line + "\n");
  };
  return farewell;
}

/// What could not be written of all that the run said changes the code of a run that ended well.
int code_after_reports(Log& log, int code) {
  log.flush(code == 0 ? kPatienceAtTheEnd : kPatienceAfterAnError);
  const bool all = log.all_written();
  return all || code != 0 ? code : static_cast<int>(ErrorKind::kIo);
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
  Log log({.world_rank = host->rank(), .host = mpi ? mpi->host() : "", .directory = directory.path()});
  for (const std::string& doubt : parsed.doubts) log.warn(doubt);
  for (const SetNote& note : notes) {
    const std::string text = concat(note.sets, ": ", note.text);
    note.warning ? log.warn(text) : log.info(text);
  }
  const Farewell farewell = farewell_of(log, directory);
  const auto run = [&]() -> int {
    return run_training(signals, options, mpi, parsed, target, std::move(host), directory, lock ? &*lock : nullptr, log,
                        farewell);
  };
  return code_after_reports(log, run_to_exit_code(
                                     mpi, [&] { return with_advice(run); }, farewell));
}

}  // namespace retain
