// Saves checkpoints of a run: one HDF5 shard a rank, a manifest, one rename that makes it all visible.
// A save runs in the background: begin() starts a thread that checksums and writes while training goes on; poll(),
// called at every step boundary, moves it along and finally gives the outcome. save() is begin and finish. At most one
// is in flight. All but the constructor are collective over the host communicator; only the calling thread
// communicates.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "kernels/core/activity.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/lock.h"
#include "trainer/checkpoint/retention.h"
#include "trainer/checkpoint/shard_file.h"

namespace retain {

/// How a save ended; the same on every rank. A failed save leaves the older checkpoints as they were.
struct SaveResult {
  int64_t step = 0;
  bool committed = false;
  ErrorKind kind = ErrorKind::kIo;   ///< of the failure
  std::string message;               ///< why it failed; or, though committed, why old ones could not be removed
  std::vector<std::string> deleted;  ///< what retention removed, before too, and why, a line each (rank 0)
  Path path;                         ///< of the committed step
  int64_t bytes = 0;                 ///< of all files (rank 0; 0 elsewhere)
  double seconds = 0;                ///< from begin to the outcome
};

class CheckpointWriter {
 public:
  /// `lock` is given on rank 0 (checked before every commit) and outlives the writer; null where nobody else can write.
  /// `main`, which outlives it, is what the calling thread is at.
  CheckpointWriter(Communicator& host, Path run_directory, Retention retention, const RunLock* lock = nullptr,
                   Activity* main = nullptr);
  /// Waits for this rank's thread; an unfinished save is not committed.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Starts a save of this rank's part. The memory behind `state` is read after `wait_for_state`, which the thread
  /// calls, has returned, and must then stay unchanged until the outcome is known. `placements` lists every tensor of
  /// the model on every rank. Failures, also of `wait_for_state`, are reported by poll and finish, not here.
  void begin(
      const RunState& run, const std::vector<TensorPlacement>& placements, const FlatState& state,
      std::function<void()> wait_for_state = [] {});
  bool in_flight() const { return phase_ != Phase::kIdle; }
  /// The outcome of the save in flight, once; nothing while it goes on or when there is none. Does not wait for disks.
  std::optional<SaveResult> poll();
  /// Waits for the save in flight; nothing when there is none. `waiting` is called every now and then with the seconds
  /// since it began.
  std::optional<SaveResult> finish(const std::function<void(double seconds)>& waiting = [](double) {});
  /// begin and finish.
  SaveResult save(const RunState& run, const std::vector<TensorPlacement>& placements, const FlatState& state);
  /// Before check_can_save(): the room that Retention::before_save allows is made now. What was deleted and why, on
  /// rank 0. No save in flight.
  std::vector<std::string> make_room_for_first();
  /// A step that a load has verified: retention need not look at it. Any rank, no save in flight.
  void remember_whole(const Path& step_directory, double valid_loss) { judge_.remember(step_directory, valid_loss); }
  /// Throws Error(kCannotCreate) on every rank if somebody took the lock over. Collective.
  void check_lock();

 private:
  enum class Phase : uint8_t { kIdle, kFailed, kWriting, kCommitting };

  void start(void (CheckpointWriter::*work)());
  /// Waits for the thread, without end for a disk that hangs: the watchdog sees to that.
  void join(const std::function<void(double seconds)>& waiting = [](double) {});
  void make_room();  // on rank 0; a save that finds none fails by itself
  void write();      // on every rank, in the thread
  void commit();     // on rank 0, in the thread
  SaveResult end(const Outcome& outcome);

  Communicator& host_;
  Path run_directory_;
  Retention retention_;
  StepJudge judge_;  // rank 0's thread's
  const RunLock* lock_;

  Activity unseen_;
  Activity& main_;    // what the calling thread is at
  Activity writing_;  // and the other one
  Phase phase_ = Phase::kIdle;
  std::thread thread_;
  std::atomic<bool> done_{false};  // the thread has finished; what it wrote may be read after join

  // The save in flight.
  RunState run_;
  std::vector<TensorPlacement> placements_;
  FlatState state_;
  std::function<void()> wait_for_state_;
  Path temporary_;
  Outcome outcome_;
  ShardRecord shard_;
  std::vector<ShardRecord> shards_;  // rank 0: of all ranks
  SaveResult result_;
  double begin_seconds_ = 0;
};

/// The files of a step beside its shards, written durably into its temporary folder: the view of whole tensors, and
/// last the manifest. Gives the bytes of all files. Throws Error(kIo).
int64_t complete_step(const Path& temporary, const RunState& run, DType dtype,
                      const std::vector<TensorPlacement>& placements, std::vector<ShardRecord> shards);

/// Before the first step: creates the directories, takes and gives back the space of one checkpoint on all ranks at
/// once, renames and removes. Throws Error(kCannotCreate) naming the path, Error(kIo) when the disk is too full.
/// Collective.
void check_can_save(Communicator& host, const Path& run_directory, int64_t bytes_on_this_rank);

}  // namespace retain
