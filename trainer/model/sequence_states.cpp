#include "trainer/model/sequence_states.h"

namespace retain {

void SequenceStates::take(Arena& arena, const Dimensions& dims, const std::vector<Block>& blocks, Residency residency) {
  segments_ = dims.batch.segment_count;
  parts_ = dims.batch.parts > 1;
  layers_.clear();
  // Without a backward nobody comes back to a state: it makes room for the one after the next, and where ranks share a
  // segment, whose states lie in `between`, for the next.
  const int64_t apart = parts_ ? 1 : 2, first_shared = parts_ ? 1 : 3;
  for (const Block& block : blocks) {
    const auto take = [&] { return block.mixer().take_state(arena, dims); };
    Layer& layer = layers_.emplace_back();
    for (int64_t s = 0; s < segments_; ++s) {
      const bool absent = s == 0 && !parts_;
      const bool shared = residency == Residency::kInference && s >= first_shared;
      layer.before.push_back(absent ? TensorView{} : shared ? layer.before[static_cast<size_t>(s - apart)] : take());
    }
    if (segments_ == 1) continue;
    if (parts_) layer.between = take();
    if (residency == Residency::kTraining) layer.gradient = take();
  }
}

CarriedStates SequenceStates::at(int64_t s) const {
  const bool first = s == 0, last = s + 1 == segments_;
  const auto unless = [](bool absent, const TensorView& x) { return absent ? TensorView{} : x; };
  CarriedStates states;
  for (const Layer& layer : layers_) {
    const auto index = static_cast<size_t>(s);
    states.push_back({.in = parts_ ? unless(first, layer.between) : layer.before[index],
                      .out = last     ? TensorView{}
                             : parts_ ? layer.between
                                      : layer.before[index + 1],
                      .part_in = unless(!parts_, layer.before[index]),
                      .dstate_out = unless(last, layer.gradient),
                      .dstate_in = unless(first, layer.gradient)});
  }
  return states;
}

}  // namespace retain
