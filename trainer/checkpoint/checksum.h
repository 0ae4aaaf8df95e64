// Checksums of checkpoint files: XXH3-64 over fixed blocks of a file, so that parts can be verified alone and by
// different ranks. `xxhsum -H3` of a block gives the same number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct XXH3_state_s;  // of xxhash.h

namespace retain {

inline constexpr int64_t kChecksumBlockBytes = int64_t{4} << 20;

uint64_t checksum(const void* data, int64_t bytes);

/// Takes bytes in order, of a file say, and gives the checksum of each block; the last one may be short.
class BlockChecksums {
 public:
  explicit BlockChecksums(int64_t block_bytes = kChecksumBlockBytes);
  ~BlockChecksums();
  BlockChecksums(const BlockChecksums&) = delete;
  BlockChecksums& operator=(const BlockChecksums&) = delete;

  void update(const void* data, int64_t bytes);
  /// Bytes until the block that is being filled ends.
  int64_t room() const { return block_bytes_ - filled_bytes_; }
  /// The checksums of all blocks; nothing may be added after.
  std::vector<uint64_t> finish();

 private:
  XXH3_state_s* state_;
  int64_t block_bytes_, filled_bytes_ = 0;
  std::vector<uint64_t> blocks_;
};

/// Sixteen hexadecimal digits, and back (false if they are not).
std::string to_hex(uint64_t value);
bool from_hex(std::string_view text, uint64_t& value);

}  // namespace retain
