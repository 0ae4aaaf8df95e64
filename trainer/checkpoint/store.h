// The directory run/checkpoints: which names mean what, which step is committed, what is kept. One process at a time
// changes it (the holder of the run's lock); anybody may read.
//   step-00001000                a committed checkpoint: it appears by a rename, complete and durable; or a symbolic
//   link
//                                to a folder that holds one, which is read through and never written through
//   latest                       the name of the newest one; a hint for people, never trusted
//   .tmp-step-00001000.NONCE     being written            .trash-step-00001000.NONCE   being deleted
//   .bad-step-00001000.NONCE     found damaged by a load  .old-step-00001000.NONCE     set aside by a resume of an
//   older step
// Names of any other form are never touched.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"
#include "trainer/file.h"

namespace retain {

using LogLine = std::function<void(const std::string&)>;

Path checkpoints_directory(const Path& run_directory);
/// "step-00001000"
std::string step_name(int64_t step);
/// The step of a name like "step-00001000"; nothing for any other name.
std::optional<int64_t> parse_step_name(const std::string& name);

struct StepEntry {
  int64_t step = 0;
  Path path;
};

/// Committed steps, newest first, links to nothing among them. No directory counts as none. Throws Error(kData) when
/// the directory itself is a link to nothing, Error(kIo).
std::vector<StepEntry> list_steps(const Path& checkpoints);
/// The step that `latest` names; nothing when it is absent or says something else. Throws Error(kIo).
std::optional<int64_t> read_latest(const Path& checkpoints);

inline constexpr const char* kFoundDamaged = "bad";  ///< kinds of what is set aside
inline constexpr const char* kOfAnOlderFuture = "old";
struct SetAsideStep {
  std::string kind;
  int64_t step = 0;
  Path path;
};
/// Steps that a load or a resume put aside, newest first.
std::vector<SetAsideStep> list_set_aside(const Path& checkpoints);

/// Is there nothing of that name, not even a link? Throws Error(kIo).
bool is_gone(const Path& path);
/// "PATH is a symbolic link to TARGET, where nothing is", also of one that leads back to itself; empty when PATH is
/// anything else. Throws Error(kIo).
std::string find_dangling_link(const Path& path);
/// Throws Error(kData) when the path, or a folder on the way there, is such a link. Throws Error(kIo).
void refuse_dangling_link(const Path& path);

/// A file of a step. One that is missing is looked for a second time, a second later and in its folder's list: a client
/// of a network file system may remember that it was not there. Throws what File::open does, and Error(kIo) for a file
/// that is listed but not found.
File open_step_file(const Path& path);
/// Does it say that a file is not what it should be? Other errors (EIO, ESTALE, EMFILE, EACCES …) say nothing about it.
bool means_damage(const Error& error);

/// Reads and checks the manifest of a step. Throws Error(kData) naming the file, Error(kIo).
Manifest read_manifest(const Path& step_directory);

enum class StepCondition : uint8_t {
  kWhole,    ///< nothing is amiss
  kDamaged,  ///< it cannot be whole
  kUnknown,  ///< it could not be looked at, which says nothing about it
};
/// "whole", "damaged", "unknown"
const char* condition_name(StepCondition condition);
struct StepVerdict {
  StepCondition condition = StepCondition::kWhole;
  std::string reason = {};  ///< why it is not whole
  double valid_loss = std::numeric_limits<double>::quiet_NaN();
};
enum class Depth : uint8_t { kManifest, kFiles };
/// Judges a step by its manifest alone, or by the sizes of all its files too; nothing else is read.
StepVerdict judge_step(const Path& step_directory, Depth depth);

/// Throws Error(kCannotCreate) where run/checkpoints is a symbolic link: nothing is written through one.
void refuse_link(const Path& checkpoints);

/// A new directory to write a step into: ".tmp-step-…"; durable. Creates run/checkpoints if need be. Throws
/// Error(kCannotCreate), also where run/checkpoints is a symbolic link.
Path create_temporary(const Path& checkpoints, int64_t step);
/// Renames a finished temporary directory to its step: the commit point; durable on return. If that step is already
/// there, the two are exchanged in one instant and the old one is deleted.
Path commit_temporary(const Path& temporary, int64_t step);
/// Makes `latest` name this step.
void write_latest(const Path& checkpoints, int64_t step);

/// Renames step-N to .KIND-step-N.NONCE and gives the new path.
Path set_aside(const Path& step_directory, const std::string& kind);
/// Sets aside (".old-") every step newer than `step`: a run that goes on from an older step makes its own future.
/// `latest` goes when the step that it names is not there (any more).
void set_aside_newer(const Path& checkpoints, int64_t step);

/// Deletes a step, or one that was set aside: renamed to .trash- first, so that no half-deleted step is ever seen.
void delete_step(const Path& step_directory);
/// Deletes a .tmp- or .trash- directory: only files with names of ours, and the directory if it is then empty. Of a
/// link only the link.
void delete_debris(const Path& directory);
/// Deletes every .tmp- and .trash- directory that a killed run left, but `except`. Only under the run's lock.
void delete_all_debris(const Path& checkpoints, const Path& except = {});

}  // namespace retain
