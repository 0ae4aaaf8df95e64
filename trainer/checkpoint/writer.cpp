#include "trainer/checkpoint/writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "parallel/health/stacks.h"
#include "trainer/checkpoint/hdf5.h"

namespace retain {

namespace {

constexpr double kWaitingIsTold = 1;  // seconds

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Whole tensors, put together from the shards.
std::vector<ViewDataset> view_of(const Manifest& manifest) {
  std::map<std::string, std::vector<std::pair<const StoredBox*, ViewDataset::Source>>> sources;
  std::map<std::string, size_t> dims;
  for (const TensorRecord& tensor : manifest.tensors) dims[tensor.name] = tensor.global_shape.size();
  for (const ShardRecord& shard : manifest.shards) {
    std::map<std::string, int> seen;
    for (const StoredBox& b : shard.boxes) {
      const size_t n = dims.at(b.tensor);
      sources[b.tensor].push_back(
          {&b,
           {shard.file.name, std::to_string(seen[b.tensor]++), coordinates(b.box.first_row, b.box.first_column, n),
            coordinates(b.box.rows, b.box.columns, n)}});
    }
  }
  std::vector<ViewDataset> datasets;
  for (const TensorRecord& tensor : manifest.tensors) {
    for (int i = 0; i < kStates; ++i) {
      ViewDataset dataset{dataset_path(tensor.name, 0, i), tensor.global_shape, {}};
      for (const auto& [box, source] : sources[tensor.name]) {
        dataset.sources.push_back(source);
        dataset.sources.back().path = dataset_path(tensor.name, std::stoi(source.path), i);
      }
      datasets.push_back(std::move(dataset));
    }
  }
  return datasets;
}

// Those of the shards' parts make those of the tensors.
void sum_digests(Manifest& manifest) {
  for (ShardRecord& shard : manifest.shards) {
    for (size_t t = 0; t < shard.digests.size(); ++t) {
      std::optional<StateDigests>& sums = manifest.tensors[t].digests;
      if (!sums) sums.emplace();
      for (size_t i = 0; i < kStates; ++i) sums->at(i) += shard.digests[t][i];
    }
    shard.digests.clear();
  }
}

// Why writing failed matters less than the disk: whatever is left of a failed save goes, as far as that works.
void delete_quietly(const Path& temporary) {
  if (!temporary.empty()) attempt([&] { delete_debris(temporary); });
}

}  // namespace

CheckpointWriter::CheckpointWriter(Communicator& host, Path run_directory, Retention retention, const RunLock* lock,
                                   Activity* main)
    : host_(host),
      run_directory_(std::move(run_directory)),
      retention_(retention),
      lock_(lock),
      main_(main ? *main : unseen_) {}

CheckpointWriter::~CheckpointWriter() {
  attempt([this] { join(); });  // what is asked meanwhile may fail
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::start(void (CheckpointWriter::*work)()) {
  done_ = false;
  const auto run = [this, work] {
    writing_.own();
    const Activity::Beside beside(main_, writing_);
    const LongWork writes(writing_, "writing a checkpoint");
    outcome_ = attempt([this, work] { (this->*work)(); });
    done_ = true;
  };
  try {
    thread_ = std::thread([run] {
      leave_signals_to_main_thread();  // and a write past RLIMIT_FSIZE fails with EFBIG instead of killing us
      run();
    });
  } catch (const std::system_error&) {
    run();  // no thread to be had: the save takes its time here
  }
}

void CheckpointWriter::join(const std::function<void(double seconds)>& waiting) {
  if (!thread_.joinable()) return;
  if (!done_) {
    const LongWork waits(main_, "finishing a checkpoint");
    int64_t written = 0;
    double told = now_seconds();
    main_.wait(WaitsFor::kDisk, "the writer of checkpoints", [&] {
      if (const int64_t now = writing_.view().signs; std::exchange(written, now) != now) main_.progress();
      if (const double now = now_seconds(); now - told > kWaitingIsTold) {
        told = now;
        waiting(now - begin_seconds_);
      }
      return done_.load();
    });
  }
  thread_.join();
}

void CheckpointWriter::make_room() {
  if (!retention_.before_save) return;
  const Path checkpoints = checkpoints_directory(run_directory_);
  const auto log = [this](const std::string& line) { result_.deleted.push_back(line); };
  const Outcome made = attempt([&] {
    delete_all_debris(checkpoints);
    free_before_save(checkpoints, retention_, judge_, log);
  });
  if (!made.ok) log(concat("no room was made for step ", result_.step, ": ", made.message));
}

std::vector<std::string> CheckpointWriter::make_room_for_first() {
  if (host_.rank() == 0) make_room();
  host_.barrier();
  return std::exchange(result_.deleted, {});
}

void CheckpointWriter::begin(const RunState& run, const std::vector<TensorPlacement>& placements,
                             const FlatState& state, std::function<void()> wait_for_state) {
  RETAIN_CHECK(!in_flight(), "a save is in flight already");
  begin_seconds_ = now_seconds();
  run_ = run;
  placements_ = placements;
  state_ = state;
  wait_for_state_ = std::move(wait_for_state);
  temporary_.clear();
  result_ = {};
  result_.step = run.step;
  outcome_ = {};
  if (host_.rank() == 0) {
    outcome_ = attempt([&] {
      if (lock_) lock_->check_held();
      make_room();
      temporary_ = create_temporary(checkpoints_directory(run_directory_), run_.step);
    });
  }
  outcome_ = broadcast_outcome(host_, outcome_, 0);
  if (!outcome_.ok) {
    phase_ = Phase::kFailed;
    return;
  }
  temporary_ = broadcast_text(host_, temporary_.string(), 0);
  phase_ = Phase::kWriting;
  start(&CheckpointWriter::write);
}

void CheckpointWriter::write() {
  // Only one save is in flight: whatever else looks unfinished is what a killed run left.
  if (host_.rank() == 0) attempt([&] { delete_all_debris(temporary_.parent_path(), temporary_); });
  wait_for_state_();
  shard_ =
      write_shard(temporary_, shard_file_name(host_.rank(), host_.size()), run_.step, placements_, state_, &writing_);
}

int64_t complete_step(const Path& temporary, const RunState& run, DType dtype,
                      const std::vector<TensorPlacement>& placements, std::vector<ShardRecord> shards) {
  Manifest manifest{run, dtype, {}, std::move(shards), {}};
  for (const TensorPlacement& p : placements) manifest.tensors.push_back({p.name, p.global_shape});
  sum_digests(manifest);
  manifest.view = write_recorded_file(temporary, kViewFileName, make_global_view(dtype, run.step, view_of(manifest)));
  const std::string text = to_text(manifest);
  const Outcome readable = attempt([&] { parse_manifest(text); });
  RETAIN_CHECK(readable.ok, "the manifest of step ", run.step, " would be refused: ", readable.message);
  write_new_file(temporary / kManifestFileName, text);
  return manifest.total_bytes() + static_cast<int64_t>(text.size());
}

void CheckpointWriter::commit() {
  result_.bytes = complete_step(temporary_, run_, state_.master.dtype, placements_, std::move(shards_));
  if (lock_) lock_->check_held();
  result_.path = commit_temporary(temporary_, run_.step);
  result_.committed = true;
  // From here on the checkpoint stands; what fails now is only worth a word.
  const Path checkpoints = checkpoints_directory(run_directory_);
  const Outcome tidy = attempt([&] {
    write_latest(checkpoints, run_.step);
    judge_.remember(result_.path, run_.valid_loss);
    apply_retention(checkpoints, retention_, judge_,
                    [this](const std::string& line) { result_.deleted.push_back(line); });
  });
  result_.message = tidy.message;
}

SaveResult CheckpointWriter::end(const Outcome& outcome) {
  phase_ = Phase::kIdle;
  if (!outcome.ok) {
    if (host_.rank() == 0 && !result_.committed) delete_quietly(temporary_);
    result_.kind = outcome.kind;
    result_.message = concat("step ", result_.step, " was not saved: ", outcome.message);
  }
  result_.seconds = now_seconds() - begin_seconds_;
  shard_ = {};
  shards_.clear();
  return std::move(result_);
}

std::optional<SaveResult> CheckpointWriter::poll() {
  switch (phase_) {
    case Phase::kIdle: return std::nullopt;
    case Phase::kFailed: return end(outcome_);
    case Phase::kWriting: {
      if (!on_every_rank(host_, done_)) return std::nullopt;
      join();
      const Outcome written = agree(host_, outcome_);
      if (!written.ok) return end(written);
      const std::vector<std::string> texts = gather_texts(host_, to_text(shard_));
      for (const std::string& text : texts) shards_.push_back(parse_shard_record(text));
      phase_ = Phase::kCommitting;
      if (host_.rank() == 0) start(&CheckpointWriter::commit);
      return std::nullopt;
    }
    case Phase::kCommitting: {
      int32_t done = done_ ? 1 : 0;
      host_.broadcast(TensorView(&done, DType::kInt32, {1}), 0).wait();
      if (!done) return std::nullopt;
      join();
      const Outcome committed = broadcast_outcome(host_, outcome_, 0);
      // A failure after the rename (the directory's fsync) still means that the step was not promised to be there.
      result_.committed = committed.ok;
      result_.message = broadcast_text(host_, result_.message, 0);
      result_.path = temporary_.parent_path() / step_name(result_.step);
      return end(committed);
    }
  }
  return std::nullopt;
}

std::optional<SaveResult> CheckpointWriter::finish(const std::function<void(double seconds)>& waiting) {
  std::optional<SaveResult> result;
  while (in_flight() && !result) {
    join(waiting);
    result = poll();
  }
  return result;
}

SaveResult CheckpointWriter::save(const RunState& run, const std::vector<TensorPlacement>& placements,
                                  const FlatState& state) {
  begin(run, placements, state);
  return *finish();
}

void CheckpointWriter::check_lock() {
  do_on_rank_0(host_, [&] {
    if (lock_) lock_->check_held();
  });
}

void check_can_save(Communicator& host, const Path& run_directory, int64_t bytes_on_this_rank) {
  const Path checkpoints = checkpoints_directory(run_directory);
  Path temporary;
  do_on_rank_0(host, [&] { temporary = create_temporary(checkpoints, 0); });
  temporary = broadcast_text(host, temporary.string(), 0);
  Outcome outcome = attempt([&] {
    File file = File::create(temporary / shard_file_name(host.rank(), host.size()));
    file.preallocate(bytes_on_this_rank);
    file.sync();
  });
  outcome = agree(host, outcome);
  // Each takes its own away: a folder of a file for every rank is a long work for one.
  ::unlink((temporary / shard_file_name(host.rank(), host.size())).c_str());
  host.barrier();
  if (host.rank() == 0) {
    const Outcome tidy = attempt([&] {
      Path renamed = temporary;
      renamed.replace_filename(concat(".trash-", step_name(0), ".", make_nonce()));
      rename_durably(temporary, renamed, ErrorKind::kCannotCreate);
      delete_debris(renamed);
    });
    if (outcome.ok) outcome = tidy;
  }
  outcome = broadcast_outcome(host, outcome, 0);
  if (!outcome.ok)
    throw SharedError(outcome.kind, concat("cannot save to ", checkpoints.string(), ": ", outcome.message));
}

}  // namespace retain
