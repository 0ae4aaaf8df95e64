// The directory run/checkpoints: which names mean what, which step is committed, what is kept. One process at a time
// changes it (the holder of the run's lock); anybody may read.
//   step-00001000                a committed checkpoint: it appears by a rename, complete and durable
//   latest                       the name of the newest one; a hint for people, never trusted
//   .tmp-step-00001000.NONCE     being written            .trash-step-00001000.NONCE   being deleted
//   .bad-step-00001000.NONCE     found damaged by a load  .old-step-00001000.NONCE     set aside by a resume of an
//   older step
// Names of any other form are never touched.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"
#include "trainer/file.h"

namespace retain {

Path checkpoints_directory(const Path& run_directory);
/// "step-00001000"
std::string step_name(int64_t step);
/// The step of a name like "step-00001000"; nothing for any other name.
std::optional<int64_t> parse_step_name(const std::string& name);

struct StepEntry {
  int64_t step = 0;
  Path path;
};

/// Committed steps, newest first. No directory counts as none.
std::vector<StepEntry> list_steps(const Path& checkpoints);
/// Directories that a load put aside as damaged.
std::vector<Path> list_damaged(const Path& checkpoints);

/// Reads and checks the manifest of a step. Throws Error(kData) naming the file, Error(kIo).
Manifest read_manifest(const Path& step_directory);
/// Why this step cannot be whole, judged by the manifest and the files' sizes alone; empty if nothing is amiss.
std::string find_obvious_damage(const Path& step_directory);

/// A new directory to write a step into: ".tmp-step-…"; durable. Creates run/checkpoints if need be.
Path create_temporary(const Path& checkpoints, int64_t step);
/// Renames a finished temporary directory to its step: the commit point; durable on return. If that step is already
/// there, the two are exchanged in one instant and the old one is deleted.
Path commit_temporary(const Path& temporary, int64_t step);
/// Makes `latest` name this step.
void write_latest(const Path& checkpoints, int64_t step);

/// Renames step-N to .KIND-step-N.NONCE ("bad", "old") and gives the new path.
Path set_aside(const Path& step_directory, const std::string& kind);
/// Sets aside (".old-") every step newer than `step`: a run that goes on from an older step makes its own future.
void set_aside_newer(const Path& checkpoints, int64_t step);

/// Deletes a step: renamed to .trash- first, so that no half-deleted step is ever seen.
void delete_step(const Path& step_directory);
/// Deletes a .tmp- or .trash- directory: only files with names of ours, and the directory if it is then empty.
void delete_debris(const Path& directory);
/// Deletes every .tmp- and .trash- directory that a killed run left, but `except`. Only under the run's lock.
void delete_all_debris(const Path& checkpoints, const Path& except = {});

struct Retention {
  int keep = 3;            ///< the newest steps that are whole; at least 2 are kept
  int64_t keep_every = 0;  ///< multiples of this are kept for ever; 0: none
  int keep_best = 0;       ///< the steps with the lowest validation loss
};

/// Steps that retention gives up after `committed` was saved: a pure function of steps, newest first.
struct RetentionCandidate {
  int64_t step = 0;
  bool whole = true;  ///< a damaged step does not count among the kept
  double valid_loss = 0;
};
std::vector<int64_t> steps_to_delete(const Retention& retention, const std::vector<RetentionCandidate>& newest_first);
/// Deletes what retention gives up.
void apply_retention(const Path& checkpoints, const Retention& retention);

}  // namespace retain
