// What the layers remember of sequences that are trained segment by segment (kernels/README.md#segments): the state
// before every segment, from which it can be computed again, and the gradient that one segment's backward leaves to the
// segment before. With context parallelism that is the state before this rank's part, which needs no second exchange.
// At inference a sequence of any length takes the memory of two states.
#pragma once

#include <vector>

#include "trainer/model/block.h"

namespace retain {

class SequenceStates {
 public:
  void take(Arena& arena, const Dimensions& dims, const std::vector<Block>& blocks, Residency residency);

  /// What each layer is given with segment s, a forward's first or one again: nothing comes into the first segment and
  /// nothing out of the last.
  CarriedStates at(int64_t s) const;

 private:
  struct Layer {
    std::vector<TensorView> before;  ///< each segment, this rank's part; absent before the first of one rank
    TensorView between;              ///< with several ranks: before or after the segment at work
    TensorView gradient;             ///< of `between`; training only
  };
  int64_t segments_ = 1;
  bool parts_ = false;  ///< ranks share a segment
  std::vector<Layer> layers_;
};

}  // namespace retain
