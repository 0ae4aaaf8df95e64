// What a rank tells of itself and of those behind it: plain bytes of a fixed size, as messages of the health network
// carry them between programs of one build.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/core/activity.h"

namespace retain {

/// A text that ends with a zero, cut where it does not fit.
template <std::size_t N>
class FixedText {
 public:
  FixedText& operator=(const std::string& text) {
    bytes_.fill('\0');
    text.copy(bytes_.data(), N - 1);
    return *this;
  }
  std::string text() const {
    std::string text(bytes_.data(), N - 1);
    return text.substr(0, text.find('\0'));
  }

 private:
  std::array<char, N> bytes_{};
};

struct RankPage {
  int32_t rank = 0, pid = 0, gpu = -1;
  FixedText<64> host;
  int64_t step = 0, collectives = 0;
  int64_t idle_ms = 0;  ///< since the last sign of progress, while the process ran
  int32_t layer = -1, device_layer = -1;
  FixedText<32> phase, device_phase, waits_in;
  uint8_t waits_for_ranks = 0, patient = 0;
};

/// The page of a rank that is at what `view` says.
RankPage page_of(const RankPage& rank, const Activity::View& view, int64_t idle_ms);
/// "rank 1 on gpu7 (pid 4711, GPU 3)".
std::string name_of(const RankPage& page);
/// "step 120, loss and backward, layer 3, waiting in all_reduce, 812 collectives done".
std::string place_of(const RankPage& page);

/// Of a rank and all behind it in the tree.
struct SubtreePage {
  int32_t ranks = 0;
  uint8_t all_wait = 1;  ///< for other ranks
  int64_t idle_ms = 0;   ///< the least of theirs
  RankPage behind;       ///< whose step, then collectives, are the fewest
  void add(const RankPage& page);
  void add(const SubtreePage& subtree);

 private:
  void take(int32_t more, bool wait, int64_t idle, const RankPage& page);
};

static_assert(std::is_trivially_copyable_v<SubtreePage>);

}  // namespace retain
