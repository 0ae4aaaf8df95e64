#include "trainer/checkpoint/block_copies.h"

#include <algorithm>
#include <cstring>

#include "trainer/checkpoint/checksum.h"

namespace retain {

BlockCopies::BlockCopies(const Manifest& manifest, const std::vector<TensorPlacement>& placements,
                         const FlatState& into) {
  struct Place {
    int shard = 0;
    const StoredBox* stored = nullptr;
  };
  std::map<std::string, std::vector<Place>> places;
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    lists_.emplace_back(manifest.shards[i].file.blocks.size());
    for (const StoredBox& b : manifest.shards[i].boxes) places[b.tensor].push_back({static_cast<int>(i), &b});
  }
  const int64_t width = dtype_bytes(manifest.dtype);
  for (const ShareBox& wanted : boxes_of_share(placements, into.share)) {
    const TensorPlacement& p = placements[static_cast<size_t>(wanted.placement)];
    for (const Place& place : places[p.name]) {
      const Box& source = place.stored->box;
      const std::optional<Box> common = intersect(wanted.box, source);
      if (!common) continue;
      const int64_t from =
          (common->first_row - source.first_row) * source.columns + common->first_column - source.first_column;
      const int64_t to = wanted.offset + (common->first_row - wanted.box.first_row) * p.box.columns +
                         common->first_column - wanted.box.first_column;
      for (size_t i = 0; i < kStates; ++i) {
        const TensorView view = into.states()[i];
        if (!view) continue;
        add(place.shard, {.from = place.stored->file_offset[i] + from * width,
                          .from_pitch = source.columns * width,
                          .rows = common->rows,
                          .row_bytes = common->columns * width,
                          .to = static_cast<char*>(view.data) + to * width,
                          .to_pitch = p.box.columns * width});
      }
    }
  }
}

void BlockCopies::add(int shard, Copy copy) {
  if (copy.row_bytes == copy.from_pitch && copy.row_bytes == copy.to_pitch) {
    copy.row_bytes *= copy.rows;
    copy.from_pitch = copy.to_pitch = copy.row_bytes;
    copy.rows = 1;
  }
  const uint32_t number = static_cast<uint32_t>(copies_.size());
  copies_.push_back(copy);
  const int64_t end = copy.from + (copy.rows - 1) * copy.from_pitch + copy.row_bytes;
  for (int64_t block = copy.from / kChecksumBlockBytes; block * kChecksumBlockBytes < end; ++block) {
    lists_[static_cast<size_t>(shard)][static_cast<size_t>(block)].push_back(number);
  }
}

void BlockCopies::take(int shard, int64_t block, const char* bytes) const {
  const int64_t begin = block * kChecksumBlockBytes, end = begin + kChecksumBlockBytes;
  for (const uint32_t number : list(shard, block)) {
    const Copy& copy = copies_[number];
    // Rows that have bytes in this block; the first and the last may lie in it with a part only.
    int64_t row = begin > copy.from ? (begin - copy.from) / copy.from_pitch : 0;
    for (; row < copy.rows && copy.from + row * copy.from_pitch < end; ++row) {
      const int64_t row_begin = copy.from + row * copy.from_pitch;
      const int64_t first = std::max(row_begin, begin), last = std::min(row_begin + copy.row_bytes, end);
      if (first >= last) continue;
      std::memcpy(copy.to + row * copy.to_pitch + (first - row_begin), bytes + (first - begin),
                  static_cast<size_t>(last - first));
    }
  }
}

}  // namespace retain
