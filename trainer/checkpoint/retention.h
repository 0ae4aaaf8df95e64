// Which checkpoints a run keeps. Only what is known to be superseded is deleted: a step that could not be looked at may
// be the best one, or the only one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "trainer/checkpoint/store.h"

namespace retain {

struct Retention {
  int keep = 3;              ///< the newest steps that are whole
  int64_t keep_every = 0;    ///< multiples of this are kept for ever; 0: none
  int keep_best = 0;         ///< the steps with the lowest validation loss
  bool before_save = false;  ///< what the step to come will supersede goes before it is written

  /// What is kept while a step is being written that will be one of the `keep`: it is none yet, so that one whole step
  /// at least is always there.
  Retention while_saving() const;
};

/// What one round gives up.
struct RetentionRound {
  std::vector<int64_t> deleted;
  std::string reason = {};   ///< of all of them
  int64_t oldest_kept = -1;  ///< the oldest of the `keep` newest whole steps; -1 while there are fewer
  std::string unknown = {};  ///< why the round ended before its end; then nothing is deleted
};

using JudgeStep = std::function<StepVerdict(int64_t step, Depth depth)>;
/// Judges the newest steps until `keep` of them are whole, and those that might be best; no others.
RetentionRound plan_retention(const Retention& retention, const std::vector<int64_t>& newest_first,
                              const JudgeStep& judge);

/// Judges steps as judge_step() does, and remembers those that are whole: one whose folder was not written in since is
/// not opened again, so that a save opens no file of an older one, however many are kept and however many ranks wrote
/// them. (A file that is cut or overwritten in place does not show; a load finds that.)
class StepJudge {
 public:
  StepVerdict judge(const Path& step_directory, Depth depth);
  /// This step is known to be whole, every byte of it.
  void remember(const Path& step_directory, double valid_loss);
  void forget(const Path& step_directory) { whole_.erase(step_directory); }
  /// Is every byte known to be whole: was the step remembered, and its folder not written in since?
  bool is_verified(const Path& step_directory) const;

 private:
  struct Stamp {
    uint64_t inode = 0;
    int64_t seconds = 0, nanoseconds = 0;  ///< when a file came, went or was renamed in the folder
    bool operator==(const Stamp&) const = default;
  };
  struct Known {
    std::optional<Stamp> stamp;
    Depth depth = Depth::kManifest;
    StepVerdict verdict;
    bool verified = false;
  };
  static std::optional<Stamp> stamp_of(const Path& directory);

  std::map<Path, Known> whole_;
};

/// Deletes what retention gives up, and what was set aside of steps that `keep` whole ones have caught up with; each
/// with a line and its reason. Throws Error(kIo) when nothing was deleted because a step could not be judged.
void apply_retention(const Path& checkpoints, const Retention& retention, StepJudge& judge, const LogLine& log);
/// apply_retention() for a step that is still to be written (Retention::before_save), if the newest one is known to be
/// good, every byte of it; else nothing is deleted.
void free_before_save(const Path& checkpoints, const Retention& retention, StepJudge& judge, const LogLine& log);

}  // namespace retain
