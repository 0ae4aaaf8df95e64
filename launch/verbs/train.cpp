// retain train: reads the configuration once for all ranks, builds the session, runs.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/config/reader.h"
#include "launch/config/saved.h"
#include "launch/config/schema.h"
#include "launch/failure.h"
#include "launch/job_time.h"
#include "launch/preflight.h"
#include "launch/session.h"
#include "launch/signals.h"
#include "launch/verbs/verbs.h"
#include "launch/version.h"
#include "parallel/agreement.h"
#include "parallel/health/watchdog.h"
#include "parallel/host_name.h"
#include "parallel/placement.h"
#include "trainer/run/kept_tokenizer.h"
#include "trainer/run/run_summary.h"
#include "trainer/run/training_run.h"

namespace retain {

namespace {

// For what is still to be written when a run ends well, or by an error that must not wait for a sick disk.
constexpr std::chrono::seconds kPatienceAtTheEnd{60}, kPatienceAfterAnError{1};

/// What the scheduler calls this job; null without one.
nlohmann::ordered_json job_json() {
  nlohmann::ordered_json job;
  for (const char* const name : {"SLURM_JOB_ID", "SLURM_RESTART_COUNT", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"}) {
    if (const char* const value = std::getenv(name)) job[name] = value;
  }
  return job;
}

std::string environment_json(const MpiEnvironment* mpi, const Backend& backend, const Placement& placement) {
  nlohmann::ordered_json machines = nlohmann::ordered_json::array();
  for (const Machine& machine : placement.machines) {
    machines.push_back({{"host", machine.host}, {"ranks", ranges(machine.ranks)}});
    if (std::ranges::min(machine.gpus) >= 0) machines.back()["gpus"] = ranges(machine.gpus);
  }
  const nlohmann::ordered_json json = {{"version", version()},
                                       {"commit", commit()},
                                       {"build", build_id()},
                                       {"compiler", compiler()},
                                       {"mpi", mpi ? MpiEnvironment::library() : ""},
                                       {"ranks", placement.shape.ranks()},
                                       {"mesh", placement.shape.describe()},
                                       {"host", host_name()},
                                       {"device", backend.device_description()},
                                       {"machines", machines},
                                       {"job", job_json()}};
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

/// Whatever comes after the work is told to the watchdog: the end waits for disks, and after an error for other ranks,
/// who have the word first.
int with_end(Activity& activity, std::optional<LongWork>& ending, const std::function<int()>& work) {
  try {
    const int code = with_advice(work);
    ending.emplace(activity, "ending");
    return code;
  } catch (...) {
    ending.emplace(activity, "ending after an error");
    throw;
  }
}

/// How the start before this one ended; "" where it ended well and said so.
std::string find_bad_end(const RunDirectory& directory) {
  const std::vector<std::string> failed = directory.last_lines("FAILED"), events = directory.last_lines("events.jsonl");
  std::string reason;
  for (const std::string& line : failed)
    reason += concat(reason.empty() ? "" : "; ", line.substr(std::min(line.find_first_not_of(' '), line.size())));
  if (!reason.empty()) return concat("the start before this one failed: ", reason);
  if (events.empty() || directory.has("DONE")) return "";
  const auto event = nlohmann::json::parse(events.back(), nullptr, false);
  if (!event.is_object() || !event.contains("event") || !event.contains("step")) return "";
  for (const char* const end : {"done", "stop", "error"}) {
    if (event["event"] == end) return "";
  }
  return concat("the start before this one ended without a word, as a killed one does; its last event was ",
                event["event"].dump(), " at step ", event["step"].dump());
}

/// An error goes the way of all that the run says.
Farewell farewell_of(Log& log) {
  return {.say = [&log](const std::string& line) { log.say_end(line, kPatienceAfterAnError); }};
}

/// None where the configuration wants none. Collective over `host`.
std::unique_ptr<Watchdog> make_watchdog(Communicator& host, Activity& activity, const LimitsConfig& limits,
                                        bool launched) {
  if (limits.hang_timeout == kHangTimeoutNone) return nullptr;
  WatchdogOptions options{.launched = launched};
  if (limits.hang_timeout != kHangTimeoutAuto) options.timeout = std::chrono::seconds(limits.hang_timeout);
  return std::make_unique<Watchdog>(host, activity, options);
}

/// Why a run that had begun failed stays where its other files are, whichever rank it was that did. Whoever lost the
/// directory to another run leaves nothing there.
void leave_marks(Log& log, const RunDirectory& directory, const RunSummary& summary, const MpiEnvironment* mpi,
                 const Failure& failure, const std::string& line) {
  if (failure.exit_code == static_cast<int>(ErrorKind::kCannotCreate)) return;
  log.record_end(line);
  tell_end(log, summary,
           {.kind = "error",
            .reason = failure.message,
            .exit_code = failure.exit_code,
            .world_rank = mpi ? mpi->world_rank() : 0,
            .host = host_name()});
  log.flush(kPatienceAfterAnError);
  directory.write("FAILED", line + "\n");
}

/// A file STOP that lay there before the start was laid for this run: taking it away and training would disregard it,
/// and ending with 75 as often as a job script starts again would do so for ever. So it takes somebody to remove it. In
/// a run that is finished it stops nothing.
void refuse_stop_file(const RunDirectory& directory) {
  if (!directory.has("STOP") || directory.has("DONE")) return;
  throw Error(ErrorKind::kCannotCreate,
              concat(directory.file("STOP"), " says that this run is not to go on: remove it and start again"));
}

/// Was any rank told to stop before there is a run that could be? Collective.
bool ends_before_it_begins(Communicator& host, const SignalWishes& signals) {
  const bool asked = signals.stop_requested();
  if (on_every_rank(host, !asked)) return false;
  const std::string by = describe_requests(gather_texts(host, asked ? signals.name_of_request() : ""));
  if (host.rank() == 0)
    fmt::print(stderr, "retain: asked to stop: {}; exit code {} before the first step, nothing was changed\n", by,
               kStoppedOnRequest);
  return true;
}

/// What somebody wishes of this rank.
Wishes poll_wishes(SignalWishes& signals, const RunDirectory* stop_file) {
  signals.progressed();  // it is asked where something is done
  Wishes wishes{.stop = signals.stop_requested(), .save = false, .reason = signals.name_of_request()};
  if (!wishes.stop && stop_file && stop_file->has("STOP")) {
    wishes.stop = true;
    wishes.reason = "the file " + stop_file->file("STOP");
  }
  wishes.save = signals.take_save_request();
  return wishes;
}

int run_training(SignalWishes& signals, const TrainOptions& options, const MpiEnvironment* mpi,
                 const ParsedConfig& parsed, const Target& target, std::unique_ptr<Communicator> host,
                 const Placement& placement, const RunDirectory& directory, const RunLock* lock,
                 const std::optional<TimeLimit>& limit, Log& log, StartClock clock, Activity& activity,
                 Watchdog* watchdog) {
  std::optional<LongWork> start_up(std::in_place, activity, "start-up"), ending;
  const bool first = host->rank() == 0;
  const int ranks = host->size();
  const Config& config = parsed.config;
  // What a refused start finds there it leaves there.
  const std::string bad_end = first ? find_bad_end(directory) : "";
  const bool was_to_stop = first && directory.has("STOP");

  Session session(target, config.mesh(ranks), mpi, std::move(host), activity);
  const RunIdentity identity{.resolved_config = parsed.resolved,
                             .keys = run_keys(config),
                             .build = version() + " " + compiler(),
                             .read_config = read_saved_config};

  clock.end_part("devices");
  const RunStart start{.resume = options.resume,
                       .init_from = options.init_from,
                       .allow_changed = options.allow_changed,
                       .limit = limit,
                       .clock = clock,
                       .bar = !options.no_progress};
  std::optional<TrainingRun> made;  // in the reach of let_go: making it waits for devices and ranks too
  const auto wishes = [&] {
    const LongWork looks(activity, "looking for STOP");  // on a disk that may be slow
    return poll_wishes(signals, first ? &directory : nullptr);
  };
  bool begun = false;
  const auto train = [&]() -> int {
    TrainingRun& training = made.emplace(session.backend(), session.mesh(), log, config, target, identity, start, lock,
                                         &session.clock(), session.energy());
    training.begin();
    begun = true;
    log.release();
    if (!bad_end.empty()) log.warn(bad_end);
    if (first) directory.remove("FAILED");
    if (was_to_stop) {
      log.info(directory.file("STOP"), ", laid when this run was finished, is removed");
      directory.remove("STOP");
    }
    if (first && !training.finished()) {
      keep_older_values(directory, identity, training.older_values_held_until());
      directory.write("config.yaml", parsed.source);
      directory.write("resolved.yaml", identity.resolved_config);
      keep_tokenizer(directory, config.data.tokenizer, training.tokenizer_fingerprint());
      directory.write("environment.json", environment_json(mpi, session.backend(), placement));
      directory.remove("DONE");  // until here a record of what the run was
    }
    start_up.reset();
    const RunOutcome outcome = training.run(wishes, {.first = options.profile.first, .last = options.profile.last});
    const LongWork ends(activity, "ending");
    if (first) {
      directory.remove("STOP");
      if (outcome == RunOutcome::kFinished && !directory.has("DONE")) directory.write("DONE", "");
    }
    return outcome == RunOutcome::kFinished ? 0 : kStoppedOnRequest;
  };
  Farewell farewell = farewell_of(log);
  farewell.let_go = [&] { session.mesh().abort(); };
  farewell.record = [&](const Failure& failure, const std::string& line) {
    if (begun) leave_marks(log, directory, made->summary(), mpi, failure, line);
  };
  const Watchdog::AtEnd at_end(
      watchdog, {.record = [&](const std::string& line,
                               int code) { farewell.record({.exit_code = code, .message = line}, line); },
                 .let_go = farewell.let_go});
  return run_to_exit_code(
      mpi, [&] { return with_end(activity, ending, train); }, farewell);
}

TimeSources time_sources(std::chrono::steady_clock::time_point start) {
  using std::chrono::system_clock;
  const auto now = system_clock::now().time_since_epoch();
  return {.variables = environment_variable,
          .scontrol = ask_scontrol,
          .unix_seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
          .now = std::chrono::steady_clock::now(),
          .start = start};
}

/// Where every rank is, on rank 0; nothing elsewhere. Collective.
Placement find_placement(Communicator& host, const MeshShape& shape, const Target& target, const LocalPlace& place) {
  const bool cuda = target.device == DeviceKind::kCuda;
  const int gpu = cuda ? gpu_number(device_of(place.rank), std::getenv("CUDA_VISIBLE_DEVICES")) : -1;
  std::vector<std::string> hosts;
  std::vector<int> gpus;
  for (const std::string& rank : gather_texts(host, concat(gpu, " ", host_name()))) {
    const size_t blank = rank.find(' ');
    gpus.push_back(std::stoi(rank.substr(0, blank)));
    hosts.push_back(rank.substr(blank + 1));
  }
  return host.rank() == 0 ? place_ranks(shape, hosts, gpus) : Placement{.shape = shape};
}

/// Which ranks share a machine.
void tell_placement(Log& log, const Placement& placement, const ModelConfig& model) {
  for (const std::string& line : placement.describe()) log.info(line);
  const std::string warning = placement.warning(most_tensor_parallel(model));
  if (!warning.empty()) log.warn(warning);
}

/// What could not be written of all that the run recorded changes the code of a run that ended well. (That a console
/// was gone does not: log.txt says so.)
int code_after_reports(Log& log, int code) {
  log.flush(code == 0 || code == kStoppedOnRequest ? kPatienceAtTheEnd : kPatienceAfterAnError);
  const bool all = log.all_written();
  return all || code != 0 ? code : static_cast<int>(ErrorKind::kIo);
}

}  // namespace

int train(const TrainOptions& options, const MpiEnvironment* mpi, SignalWishes& signals) {
  const auto start = std::chrono::steady_clock::now();
  StartClock clock(process_seconds());
  clock.end_part("program", mpi ? mpi->begun() : StartClock::Clock::now());
  if (mpi) clock.end_part("MPI", mpi->ready());
  Activity activity;
  std::unique_ptr<Communicator> host = make_host_communicator(mpi, &activity);
  const bool first = host->rank() == 0;
  if (ends_before_it_begins(*host, signals)) return kStoppedOnRequest;
  const LocalPlace place = local_place(mpi);
  const ParsedConfig parsed = read_config_once(*host, options.config, options.sets);
  const std::unique_ptr<Watchdog> watchdog = make_watchdog(*host, activity, parsed.config.limits, mpi != nullptr);
  std::optional<LongWork> looking(std::in_place, activity, "looking at inputs");
  Target target = agree_on_target(*host, parsed.config, cuda_device_count() > 0, threads_per_rank(place));
  check_beginning(*host, options, parsed.config.run);
  clock.end_part("configuration");
  const std::vector<SetNote> notes = check_inputs(*host, parsed.config, target);
  clock.end_part("data");

  const RunDirectory directory(parsed.config.run.dir);
  std::optional<RunLock> lock;
  const auto say = [](const std::string& line) { fmt::print(stderr, "retain: {}\n", line); };  // there is no log yet
  // Whoever holds the directory is named first: the memory may be missing because that run has it. A run that is
  // refused makes no directory.
  std::error_code error;  // a path that cannot be looked at is create()'s to report
  if (first && std::filesystem::exists(directory.file("LOCK"), error))
    lock.emplace(directory.path(), LockTiming{}, say);
  do_on_rank_0(*host, [&] { refuse_stop_file(directory); });
  agree_on_memory(*host, parsed.config, target, place);
  check_all_memory(*host, parsed.config, target, place);
  if (first) {
    directory.create();
    if (!lock) lock.emplace(directory.path(), LockTiming{}, say);
  }
  if (ends_before_it_begins(*host, signals)) return kStoppedOnRequest;
  Log log({.world_rank = host->rank(), .host = mpi ? mpi->host() : "", .directory = directory.path(), .held = true});
  std::vector<std::string> doubts = parsed.doubts;
  const std::optional<TimeLimit> limit =
      first ? find_time_limit(parsed.config.limits.wall_time_seconds, time_sources(start), doubts) : std::nullopt;
  for (const std::string& doubt : doubts) log.warn(doubt);
  for (const SetNote& note : notes) {
    const std::string text = concat(note.sets, ": ", note.text);
    note.warning ? log.warn(text) : log.info(text);
  }
  const Placement placement = find_placement(*host, parsed.config.mesh(host->size()), target, place);
  if (first && host->size() > 1) tell_placement(log, placement, parsed.config.model);
  clock.end_part("memory and directory");
  looking.reset();
  const auto run = [&]() -> int {
    return run_training(signals, options, mpi, parsed, target, std::move(host), placement, directory,
                        lock ? &*lock : nullptr, limit, log, clock, activity, watchdog.get());
  };
  return code_after_reports(log, run_to_exit_code(
                                     mpi, [&] { return with_end(activity, looking, run); }, farewell_of(log)));
}

}  // namespace retain
