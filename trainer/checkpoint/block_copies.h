// A load in one pass: which bytes of which blocks of the shards go where, so that a block is copied right after it was
// verified, while it is in the cache. Pure arithmetic and memcpy; no file is touched here.
#pragma once

#include "trainer/checkpoint/shard_file.h"

namespace retain {

class BlockCopies {
 public:
  /// Fills the share of each present view, all of the manifest's type; elements in padding stay as they are. The
  /// placements are known to fit the manifest (Checkpoint::check_fits). Views outlive this.
  BlockCopies(const Manifest& manifest, const std::vector<TensorPlacement>& placements, const FlatState& into);

  bool needs(int shard, int64_t block) const { return !list(shard, block).empty(); }
  /// Copies what is needed of a block of a shard, given all its bytes.
  void take(int shard, int64_t block, const char* bytes) const;

 private:
  // Rows of a stored box and where they go; distances in bytes.
  struct Copy {
    int64_t from = 0, from_pitch = 0;  // in the file
    int64_t rows = 0, row_bytes = 0;
    char* to = nullptr;
    int64_t to_pitch = 0;
  };
  using List = std::vector<uint32_t>;  // indices into copies_
  const List& list(int shard, int64_t block) const {
    return lists_[static_cast<size_t>(shard)][static_cast<size_t>(block)];
  }
  void add(int shard, Copy copy);

  std::vector<Copy> copies_;
  std::vector<std::vector<List>> lists_;  // of each block of each shard
};

}  // namespace retain
