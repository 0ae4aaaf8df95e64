// Loads checkpoints on any mesh. A step is used only after its manifest and every block of every shard were verified:
// each rank verifies the blocks that it needs and copies out of them in the same pass, and blocks that nobody needs are
// spread over the ranks. HDF5 is not parsed, the manifest says where every box lies.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/shard_file.h"
#include "trainer/checkpoint/store.h"
#include "trainer/open_files.h"

namespace retain {

/// Where a load puts what it reads.
struct LoadTarget {
  std::vector<TensorPlacement> placements;
  /// Views of one type, to which the checkpoint's is converted, the master's at least; hold anything until the load has
  /// returned a checkpoint.
  FlatState into;
  /// Called before anything is read; what it throws ends the load: it is no damage for which an older step is tried.
  std::function<void(const RunState&)> accept = [](const RunState&) {};
};

class BlockCopies;

/// Blocks [begin, end) of a shard.
struct BlockRun {
  int shard = 0;
  int64_t begin = 0, end = 0;
};

/// One committed step. Reading from several threads needs several of these.
class Checkpoint {
 public:
  Checkpoint(Path path, Manifest manifest);

  const Path& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  const RunState& state() const { return manifest_.state; }

  /// Throws Error(kData) when a tensor is absent, or has another shape than is wanted.
  void check_fits(const std::vector<TensorPlacement>& placements, const FlatState& into) const;

  /// Fills `to` (row-major, rows `row_stride` elements apart, of type `dtype`) with a box of state `state`; values of
  /// the other float type are converted. Throws Error(kData) when there is no such tensor, Error(kIo). Not collective.
  void read_box(const std::string& tensor, const Box& box, int state, void* to, int64_t row_stride, DType dtype) const;

  using Report = std::function<void(const Error&)>;
  /// Reads and compares checksums of part `part` of `parts` of all blocks of the shards. Damage (kData) is reported,
  /// naming file, block, tensor and both checksums; by default it is thrown. Throws Error(kIo).
  void verify_shards(int part = 0, int parts = 1, const Report& report = throw_it) const;
  /// Verifies the blocks that `copies` needs and copies out of each one; and its part of those that no rank needs.
  /// Damage is thrown on the rank that sees it: then what was copied is not to be used. Collective.
  void load_blocks(Communicator& host, const BlockCopies& copies) const;
  /// The blocks that `copies` needs, in the order of the files, in runs of at most so many.
  std::vector<BlockRun> needed_blocks(const BlockCopies& copies, int64_t most) const;
  /// Verifies the blocks of a run and copies out of each one. Any thread.
  void load_run(const BlockRun& run, const BlockCopies& copies) const;
  /// verify_shards() for global.h5, which only people read.
  void verify_view(const Report& report = throw_it) const;

 private:
  struct Place {
    int shard = 0;
    const StoredBox* box = nullptr;
  };
  static void throw_it(const Error& error) { throw Error(error); }
  std::shared_ptr<const File> shard_file(int shard) const;
  using Sink = std::function<void(int64_t block, const char* bytes)>;
  /// Blocks [begin, end) of a file; `shard` is null for the view. Whole blocks go to `sink` if there is one.
  void verify_blocks(const FileRecord& record, const ShardRecord* shard, int64_t begin, int64_t end,
                     const Report& report, const Sink& sink = nullptr) const;

  Path path_;
  Manifest manifest_;
  std::map<std::string, std::vector<Place>> places_;  // of each tensor
  std::unique_ptr<OpenFiles> files_;                  // of the shards
};

/// The newest step that verifies; nothing when the run has no checkpoint at all. Older steps are tried when newer ones
/// are damaged, with the reason logged; with `set_aside_damaged` (only under the run's lock) those are renamed to
/// .bad-…. Throws Error(kData) when there are checkpoints, or were damaged ones, but none holds: never a silent fresh
/// start; and Error(kIo) when a disk fails, which says nothing about the data. `target` (on all ranks or on none) is
/// filled in the pass that verifies. Collective.
std::optional<Checkpoint> open_newest(Communicator& host, const Path& run_directory, bool set_aside_damaged,
                                      const LogLine& log, const LoadTarget* target = nullptr);

/// One step by its path: a step directory, or a run directory (its newest step that verifies). Collective.
Checkpoint open_verified(Communicator& host, const Path& path, const LogLine& log, const LoadTarget* target = nullptr);

/// What is read of a step, where that is not the share of a run.
struct StepReader {
  /// Called before anything is read; what it throws ends the load: it is no damage for which an older step is tried.
  std::function<void(const Checkpoint&)> accept = [](const Checkpoint&) {};
  /// Reads, and verifies what it reads; Error(kData) is damage.
  std::function<void(const Checkpoint&)> read;
};
/// open_verified() where of all tensors only those are verified that are read. What is damaged for one rank's reader is
/// so for all of them; `accept` throws on all ranks or on none. Collective.
Checkpoint open_and_read(Communicator& host, const Path& path, const LogLine& log, const StepReader& reader);
/// The same of one process.
Checkpoint open_and_read(const Path& path, const LogLine& log, const StepReader& reader);

}  // namespace retain
