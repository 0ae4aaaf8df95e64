#include "trainer/plan/recompute_levels.h"

#include "trainer/model/parameter_layout.h"

namespace retain {

namespace {

// FLOPs that training does in the time in which a byte is moved: an H200's 0.55 of 989 TFLOP/s in bfloat16, of 67 in
// float32, beside 0.8 of 4.8 TB/s.
double flops_per_byte(DType compute) { return 0.55 * (compute == DType::kBfloat16 ? 989e12 : 67e12) / (0.8 * 4.8e12); }

// Of one layer and token, the whole model's width.
struct LayerWork {
  double forward_flops;      // the block's
  double last_flops;         // of that, the FFN's last product
  double elementwise_bytes;  // moved by what `selective` does again

  LayerWork(const ModelConfig& m, int64_t chunk, DType compute) {
    const auto d = static_cast<double>(m.hidden_size), ffn = static_cast<double>(m.ffn_size);
    const auto keys = static_cast<double>(m.heads * m.key_dim()), values = static_cast<double>(m.heads * m.value_dim());
    const double state = keys * static_cast<double>(m.value_dim()), matrices = m.ffn == FfnKind::kGelu ? 2 : 3;
    last_flops = 2 * d * ffn;
    forward_flops = 2 * d * (2 * keys + 3 * values) + matrices * last_flops + 4 * state;
    const double states = keys + values + state / static_cast<double>(chunk);
    const double elements = 2 * 2 * d + 3 * values + matrices * ffn + states;
    elementwise_bytes = elements * static_cast<double>(dtype_bytes(compute));
  }
};

}  // namespace

double relative_step_time(const ModelConfig& model, Recompute level, int64_t segments, int64_t chunk, DType compute) {
  const LayerWork layer(model, chunk, compute);
  double again = 0;
  switch (level) {
    case Recompute::kNone: break;
    case Recompute::kSelective: again = layer.elementwise_bytes * flops_per_byte(compute); break;
    case Recompute::kFull: again = layer.forward_flops - layer.last_flops; break;
    case Recompute::kSegment:  // all but the last segment
      again = layer.forward_flops * static_cast<double>(segments - 1) / static_cast<double>(segments);
      break;
  }
  return 1 + static_cast<double>(model.layers) * again / flops_per_token(model);
}

std::vector<LevelPlan> plan_levels(const Config& config, int ranks, const Target& target) {
  std::vector<LevelPlan> levels;
  for (const Recompute level : kRecomputeLevels) {
    Config changed = config;
    changed.train.recompute = level;
    if (level != Recompute::kSegment) changed.train.segment_tokens = 0;
    const RunPlan plan = make_plan(changed, ranks, target);
    levels.push_back({.level = level,
                      .segment_tokens = plan.shape.segment_tokens(),
                      .needed_bytes = plan.needed_bytes(),
                      .relative_time = relative_step_time(config.model, level, plan.shape.segment_count, plan.chunk,
                                                          target.compute)});
  }
  return levels;
}

}  // namespace retain
