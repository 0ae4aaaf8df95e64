// retain train: reads the configuration once for all ranks, builds the session, runs.
#include <fmt/core.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/config_reader.h"
#include "launch/config_schema.h"
#include "launch/session.h"
#include "launch/signals.h"
#include "launch/verbs.h"
#include "launch/version.h"
#include "trainer/training_run.h"

namespace retain {

namespace {

constexpr int kStoppedOnRequest = 75;

// What a checkpoint must agree with to be continued: the model and everything that decides which tokens a step sees.
std::map<std::string, std::string> identity_values(const Config& config) {
  std::map<std::string, std::string> values;
  for (const Field& field : config_fields()) {
    const bool decides = field.section() == "model" || field.path == "run.seed" || field.path == "train.batch_tokens" ||
                         field.path == "data.tokenizer" || field.path == "data.seq_len" ||
                         field.path == "data.reset_state_at_documents";
    if (decides) values[field.path] = field.get(config);
  }
  return values;
}

std::string environment_json(const MpiEnvironment* mpi, const Backend& backend) {
  const nlohmann::ordered_json json = {{"version", version()},
                                       {"compiler", compiler()},
                                       {"ranks", mpi ? mpi->world_size() : 1},
                                       {"host", mpi ? mpi->host() : ""},
                                       {"device", backend.device_description()}};
  return json.dump(2) + "\n";
}

// Leaves FAILED in the run directory when an exception ends the run.
class FailureMark {
 public:
  FailureMark(const RunDirectory& directory, bool writes)
      : directory_(directory), writes_(writes), uncaught_(std::uncaught_exceptions()) {}
  ~FailureMark() {
    if (!writes_ || std::uncaught_exceptions() == uncaught_) return;
    try {
      directory_.write("FAILED", "the reason is in log.txt and on stderr\n");
    } catch (const Error&) {
      return;  // the error that ends the run is the one to report
    }
  }
  FailureMark(const FailureMark&) = delete;
  FailureMark& operator=(const FailureMark&) = delete;

 private:
  const RunDirectory& directory_;
  bool writes_;
  int uncaught_;
};

}  // namespace

int run(const TrainOptions& options, const MpiEnvironment* mpi) {
  SignalWishes signals;
  std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const int ranks = host->size();
  const bool first = host->rank() == 0;
  const ParsedConfig parsed = parse_config(read_config_once(*host, options.config), options.sets, ranks);
  const Config& config = parsed.config;
  const Target target = resolve_target(config, cuda_device_count() > 0, threads_per_rank(mpi ? mpi->local_size() : 1));

  const RunDirectory directory(config.run.dir);
  std::optional<RunLock> lock;
  if (first) {
    directory.create();
    lock.emplace(directory.path());
    directory.remove("DONE");
    directory.remove("FAILED");
  }
  const FailureMark mark(directory, first);
  Log log({.world_rank = host->rank(), .host = mpi ? mpi->host() : "", .file = first ? directory.file("log.txt") : ""});

  Session session(target, config.mesh(ranks), mpi, std::move(host));
  const RunIdentity identity{.resolved_config = resolved_yaml(parsed),
                             .values = identity_values(config),
                             .build = version() + " " + compiler()};
  if (first) {
    directory.write("config.yaml", read_config_sources(options.config).files.front().text);
    directory.write("resolved.yaml", identity.resolved_config);
    directory.write("environment.json", environment_json(mpi, session.backend()));
  }

  TrainingRun training(session.backend(), session.mesh(), log, config, target, identity, options.resume,
                       lock ? &*lock : nullptr);
  const RunOutcome outcome = training.run([&] {
    return Wishes{.stop = signals.stop_requested() || (first && directory.stop_file_exists()),
                  .save = signals.take_save_request()};
  });
  if (first) {
    directory.remove("STOP");
    if (outcome == RunOutcome::kFinished) directory.write("DONE", "");
  }
  return outcome == RunOutcome::kFinished ? 0 : kStoppedOnRequest;
}

}  // namespace retain
