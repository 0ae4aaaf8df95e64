#include "trainer/checkpoint/shard_file.h"

#include <algorithm>
#include <map>

#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/hdf5.h"

namespace retain {

namespace {

// Bytes of the file that lie somewhere in memory.
struct Piece {
  int64_t offset = 0, bytes = 0;
  const void* from = nullptr;
};

// The file's metadata is a few hundred bytes a dataset; allocating a little more at first costs nothing.
constexpr int64_t kMetadataGuessBytes = 512;

void write_pieces(File& file, std::vector<Piece> pieces, BlockChecksums& sums, Activity* activity = nullptr) {
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
  for (const Piece& piece : pieces) {
    for (int64_t at = 0; at < piece.bytes;) {
      const int64_t n = std::min(piece.bytes - at, sums.room());
      const char* from = static_cast<const char*>(piece.from) + at;
      sums.update(from, n);
      file.write(from, n, piece.offset + at);
      at += n;
      if (activity) activity->progress();
      // The disk works on a finished block while the next one is checksummed.
      if (sums.room() == kChecksumBlockBytes)
        file.start_writing(piece.offset + at - kChecksumBlockBytes, kChecksumBlockBytes);
    }
  }
}

}  // namespace

ShardRecord write_shard(const Path& directory, const std::string& name, int64_t step,
                        const std::vector<TensorPlacement>& placements, const FlatState& state, Activity* activity) {
  const DType dtype = state.master.dtype;
  for (const TensorView& view : state.states()) {
    RETAIN_CHECK(view.dtype == dtype && view.contiguous() && view.elements() == state.share.size(), "state ",
                 view.describe(), " for a share of ", state.share.size(), " elements of ", dtype_name(dtype));
  }
  ShardRecord shard{{name, 0, {}}, {}, state.digests};
  std::vector<ShardDataset> datasets;
  std::vector<Piece> pieces;
  std::map<std::string, int> seen;  // boxes of each tensor so far
  int64_t data_bytes = 0;
  for (const ShareBox& part : boxes_of_share(placements, state.share)) {
    const TensorPlacement& p = placements[static_cast<size_t>(part.placement)];
    if (!p.stored) continue;
    const size_t dims = p.global_shape.size();
    const int index = seen[p.name]++;
    shard.boxes.push_back({p.name, part.box, {}});
    for (int i = 0; i < kStates; ++i) {
      datasets.push_back({dataset_path(p.name, index, i), p.global_shape,
                          coordinates(part.box.first_row, part.box.first_column, dims),
                          coordinates(part.box.rows, part.box.columns, dims)});
      const int64_t bytes = part.box.elements() * dtype_bytes(dtype);
      const int64_t skip = part.offset * dtype_bytes(dtype);
      pieces.push_back({0, bytes, static_cast<const char*>(state.states()[static_cast<size_t>(i)].data) + skip});
      data_bytes += bytes;
    }
  }

  File file = File::create(directory / name);
  file.preallocate(data_bytes + static_cast<int64_t>(datasets.size() + 1) * kMetadataGuessBytes);
  const ShardSkeleton skeleton = make_shard_skeleton(dtype, step, datasets);
  file.preallocate(skeleton.file_bytes);
  file.resize(skeleton.file_bytes);
  for (size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].offset = skeleton.data_offsets[i];
    shard.boxes[i / kStates].file_offset[i % kStates] = pieces[i].offset;
  }
  for (const ShardSkeleton::Piece& piece : skeleton.metadata) {
    pieces.push_back({piece.offset, static_cast<int64_t>(piece.bytes.size()), piece.bytes.data()});
  }
  BlockChecksums sums;
  write_pieces(file, std::move(pieces), sums, activity);
  file.sync();
  file.close();
  shard.file.bytes = skeleton.file_bytes;
  shard.file.blocks = sums.finish();
  return shard;
}

FileRecord write_recorded_file(const Path& directory, const std::string& name, const std::vector<char>& bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  File file = File::create(directory / name);
  file.preallocate(size);
  BlockChecksums sums;
  write_pieces(file, {{0, size, bytes.data()}}, sums);
  file.sync();
  file.close();
  return {name, size, sums.finish()};
}

}  // namespace retain
