#include "trainer/checkpoint/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <new>

namespace retain {

uint64_t checksum(const void* data, int64_t bytes) { return XXH3_64bits(data, static_cast<size_t>(bytes)); }

BlockChecksums::BlockChecksums(int64_t block_bytes) : state_(XXH3_createState()), block_bytes_(block_bytes) {
  if (!state_) throw std::bad_alloc();
  XXH3_64bits_reset(state_);
}
BlockChecksums::~BlockChecksums() { XXH3_freeState(state_); }

void BlockChecksums::update(const void* data, int64_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const int64_t n = std::min(bytes, room());
    XXH3_64bits_update(state_, from, static_cast<size_t>(n));
    from += n;
    bytes -= n;
    filled_bytes_ += n;
    if (filled_bytes_ == block_bytes_) {
      blocks_.push_back(XXH3_64bits_digest(state_));
      XXH3_64bits_reset(state_);
      filled_bytes_ = 0;
    }
  }
}

std::vector<uint64_t> BlockChecksums::finish() {
  if (filled_bytes_ > 0) blocks_.push_back(XXH3_64bits_digest(state_));
  filled_bytes_ = 0;
  return std::move(blocks_);
}

std::string to_hex(uint64_t value) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) text[static_cast<size_t>(i)] = "0123456789abcdef"[value & 15];
  return text;
}

bool from_hex(std::string_view text, uint64_t& value) {
  if (text.size() != 16) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc{} && end == text.data() + text.size() && text == to_hex(value);
}

}  // namespace retain
