#include "trainer/model/sequence_states.h"

namespace retain {

void SequenceStates::take(Arena& arena, const Dimensions& dims, const std::vector<Block>& blocks, Residency residency) {
  segments_ = dims.batch.segment_count;
  parts_ = dims.batch.parts > 1;
  layers_.clear();
  for (const Block& block : blocks) {
    const auto take = [&] { return block.mixer().take_state(arena, dims); };
    Layer& layer = layers_.emplace_back();
    for (int64_t s = 0; s < segments_; ++s) layer.before.push_back(s > 0 || parts_ ? take() : TensorView{});
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
