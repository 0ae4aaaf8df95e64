// The manifest of a checkpoint: what the run needs to go on to the last bit, which tensors there are, and which part of
// which file holds what, with checksums of every file. Text in, values out: no file is touched here.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"
#include "parallel/topology.h"
#include "trainer/checkpoint/boxes.h"

namespace retain {

/// The states of a parameter, in the order of every triple here.
inline constexpr std::array<const char*, 3> kStateNames = {"master", "m", "v"};
inline constexpr int kStates = 3;

/// Of a tensor's states, or of a part of them: see state_digest.h.
using StateDigests = std::array<uint64_t, kStates>;

/// Everything but the tensors that a run needs to continue bit-exactly. The trainer fills it and reads it back.
struct RunState {
  int64_t step = 0;         ///< finished optimizer updates; also the position of the learning rate schedule
  int64_t tokens = 0;       ///< trained on so far
  uint64_t seed = 0;        ///< key of the random numbers; they are counter-based and have no other state
  int64_t next_sample = 0;  ///< global index of the first sample not used yet
  MeshShape mesh;           ///< that wrote it
  int zero = 0;
  double valid_loss = std::numeric_limits<double>::quiet_NaN();  ///< at this step, or NaN; keep_best goes by it
  std::string build;                                             ///< program version and compiler
  std::string config_text;                                       ///< the resolved configuration
  /// What must agree for a resume, beside what only the configuration says (see run/resume.h): "model.layers" -> "24",
  /// "data.contents" -> …
  std::map<std::string, std::string> identity;
  std::string numerics;         ///< NumericsGuard::to_text(): statistics of spikes, counts; "" in older checkpoints
  std::string resumed_from;     ///< the checkpoint, outside of the run or older, that --resume named; or empty
  bool validation_due = false;  ///< after this step; the run was asked to stop before it was done
  int data_order = 1;           ///< a DataOrder; older checkpoints, which do not say, have the first
};

struct TensorRecord {
  std::string name;
  std::vector<int64_t> global_shape;
  std::optional<StateDigests> digests = {};  ///< older releases wrote none
};

/// A box of a whole tensor in a shard file.
struct StoredBox {
  std::string tensor;
  Box box;
  std::array<int64_t, kStates> file_offset{};  ///< of the first element of master, m, v
};

/// A file of the checkpoint and the checksum of each of its blocks (kChecksumBlockBytes).
struct FileRecord {
  std::string name;
  int64_t bytes = 0;
  std::vector<uint64_t> blocks;
};

struct ShardRecord {
  FileRecord file;
  std::vector<StoredBox> boxes;  ///< in the order of the file
  /// Of this shard's part of every tensor, on the way to the manifest, which holds their sums; or none.
  std::vector<StateDigests> digests = {};
};

struct Manifest {
  static constexpr int kVersion = 1;

  RunState state;
  DType dtype = DType::kFloat32;
  std::vector<TensorRecord> tensors;
  std::vector<ShardRecord> shards;
  FileRecord view;  ///< global.h5

  int64_t parameters() const;
  int64_t total_bytes() const;  ///< of all files but the manifest
};

/// "shard-00003-of-00008.h5"
std::string shard_file_name(int rank, int size);
inline constexpr const char* kViewFileName = "global.h5";
inline constexpr const char* kManifestFileName = "manifest.json";
inline constexpr int64_t kManifestLimitBytes = int64_t{64} << 20;

/// "/param/NAME/master"; further boxes of one tensor in a shard are "/param/NAME/box1/master" and so on.
std::string dataset_path(const std::string& tensor, int box, int state);

/// JSON whose last line is the checksum of all before it.
std::string to_text(const Manifest& manifest);
/// Checks the checksum, then every value: names, shapes, boxes that tile each tensor exactly once, offsets inside
/// files. Throws Error(kData) with the reason (no path: the caller knows it).
Manifest parse_manifest(std::string_view text);

/// A shard's record as text and back: what a rank sends to the one that writes the manifest.
std::string to_text(const ShardRecord& shard);
ShardRecord parse_shard_record(std::string_view text);

}  // namespace retain
