// How much of a disk the checkpoints of a run take at the same time, from now to its end. Pure arithmetic of what
// retention keeps (retention.h); one thin function looks at a run's directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/retention.h"

namespace retain {

/// The saves that are still to come: of every multiple of `every`, and of the last step. Those on request are not
/// counted: they take the place of others.
struct SavesToCome {
  int64_t done = 0;   ///< steps that are finished
  int64_t last = 0;   ///< step of the run; at least `done`
  int64_t every = 0;  ///< 0: the last alone

  int64_t count() const;
  /// Of save 1 … count().
  int64_t step(int64_t save) const;
  /// How many of the saves 1 … `saves` are of a multiple of `multiple` (0: none).
  int64_t multiples(int64_t saves, int64_t multiple) const;
};

struct StepOnDisk {
  int64_t step = 0, bytes = 0;
};

/// What is on the disk now.
struct CheckpointsOnDisk {
  std::vector<StepOnDisk> steps;      ///< newest first, all of them whole
  std::vector<StepOnDisk> set_aside;  ///< newest first
  /// That a process like this one may take; nothing where the file system does not tell.
  std::optional<int64_t> free_bytes;
};

/// Sizes that 64 bits do not hold are INT64_MAX.
struct DiskPlan {
  int64_t one_bytes = 0;              ///< of one checkpoint
  int64_t most_count = 0;             ///< there at the same time at most, the one that is being written included
  int64_t most_bytes = 0;             ///< of these and of what is set aside
  int64_t end_count = 0;              ///< kept when the run has ended
  int64_t end_bytes = 0;              ///< of these
  std::optional<int64_t> free_bytes;  ///< now
  std::optional<int64_t> lacks_at;    ///< the first step whose save will not fit
  int64_t lacking_bytes = 0;          ///< then
  bool lacks_at_first = false;        ///< not even the next save fits

  /// "the checkpoint of step 24 will not fit: …"; empty where all do, or where that cannot be known.
  std::string warning(const Retention& retention) const;
};

/// `frees_first`: retention gives up what a save will supersede before it writes, down to one that is whole.
/// With keep_best all the steps that it may keep are counted.
DiskPlan plan_disk(const Retention& retention, bool frees_first, const SavesToCome& saves, int64_t one_bytes,
                   const CheckpointsOnDisk& found);

/// "154.92 GB", "0.65 MB".
std::string disk_size(int64_t bytes);

/// Looks at a run's directory, which need not be there yet: its disk is then that of the folder it will be made in.
/// Throws Error(kIo).
CheckpointsOnDisk look_at_checkpoints(const Path& run_directory);
/// Bytes that this process may still take of the file system that the path is on, or will be; nothing where it does not
/// tell.
std::optional<int64_t> free_disk_bytes(const Path& path);

}  // namespace retain
