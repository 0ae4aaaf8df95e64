#include "trainer/study/shapes.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

namespace retain::study {
namespace {

constexpr int64_t kGpuUnit = 64, kCpuUnit = 16;
// From this width on a GPU's is a multiple of 128, so that heads have 128 keys, or 256, which Hopper's kernels serve.
constexpr int64_t kWideOnGpu = 512, kWideGpuUnit = 128;
constexpr int64_t kWidest = 16'384, kMostLayers = 1024;
constexpr int64_t kFewestLayers = 2, kFewestHeads = 2, kManyHeads = 4;
constexpr double kWorstMiss = 0.3;  // of ln N: a target further from every shape is refused

int64_t round_to(double value, int64_t unit) {
  return std::max<int64_t>(unit, std::llround(value / static_cast<double>(unit)) * unit);
}

class Shaper {
 public:
  explicit Shaper(const Study& study)
      : study_(study),
        unit_(study.on_gpu() ? kGpuUnit : kCpuUnit),
        tp_(study.base.parallel.tp),
        ffn_ratio_(study.shapes.ffn_ratio > 0 ? study.shapes.ffn_ratio
                                              : static_cast<double>(study.base.model.ffn_size) /
                                                    static_cast<double>(study.base.model.hidden_size)) {}

  int64_t unit() const { return unit_; }

  /// Heads and FFN for this width; nothing where no number of heads is legal.
  std::optional<ModelConfig> of_width(int64_t hidden_size) const {
    ModelConfig model = study_.base.model;
    model.hidden_size = hidden_size;
    model.ffn_size = round_to(ffn_ratio_ * static_cast<double>(hidden_size), std::lcm(unit_, int64_t{tp_}));
    const auto heads = heads_of(model);
    if (!heads) return std::nullopt;
    model.heads = *heads;
    return model;
  }

 private:
  std::optional<int64_t> heads_of(const ModelConfig& model) const {
    std::vector<int64_t> dims = {256, 128, 64};
    if (!study_.on_gpu()) dims.insert(dims.end(), {32, 16, 8});
    if (study_.shapes.head_dim > 0) dims = {study_.shapes.head_dim};
    const int64_t keys = std::llround(model.key_expansion * static_cast<double>(model.hidden_size));
    const int64_t values = std::llround(model.value_expansion * static_cast<double>(model.hidden_size));
    std::optional<int64_t> found;
    for (const int64_t dim : dims) {
      const int64_t heads = keys / dim;
      if (keys % dim != 0 || heads < kFewestHeads || heads % tp_ != 0 || values % heads != 0) continue;
      found = heads;
      if (heads >= kManyHeads) break;
    }
    return found;
  }

  const Study& study_;
  int64_t unit_;
  int tp_;
  double ffn_ratio_;
};

/// Of this width, with the layers that bring N nearest to what is asked.
struct Candidate {
  ModelConfig model;
  double parameters = 0;  // N
  double miss = 0;        // |ln(N / asked)|
  double lopsided = 0;    // |ln(hidden_size / layers / width_per_layer)|
};

Candidate candidate(ModelConfig model, double asked, const Study& study) {
  const auto parameters_with = [&](int64_t layers) {
    model.layers = layers;
    return static_cast<double>(count(model).of(study.count));
  };
  const double one = parameters_with(1), block = parameters_with(2) - one;
  const double layers = std::round((asked - one) / block + 1);
  const auto legal =
      static_cast<int64_t>(std::clamp(layers, static_cast<double>(kFewestLayers), static_cast<double>(kMostLayers)));
  const double parameters = one + block * static_cast<double>(legal - 1);
  const double ratio = static_cast<double>(model.hidden_size) / static_cast<double>(legal);
  model.layers = legal;
  return {model, parameters, std::abs(std::log(parameters / asked)),
          std::abs(std::log(ratio / study.shapes.width_per_layer))};
}

bool better(const Candidate& a, const Candidate& b) {
  const double tolerance = std::log1p(kShapeTolerance);
  const bool a_near = a.miss <= tolerance, b_near = b.miss <= tolerance;
  if (a_near != b_near) return a_near;
  return a_near ? a.lopsided < b.lopsided : a.miss < b.miss;
}

ModelConfig shape_near(const Size& size, const Study& study) {
  const Shaper shaper(study);
  const auto asked = static_cast<double>(size.parameters);
  std::optional<Candidate> best;
  for (int64_t width = shaper.unit(); width <= kWidest; width += shaper.unit()) {
    if (study.on_gpu() && width > kWideOnGpu && width % kWideGpuUnit != 0) continue;
    const auto model = shaper.of_width(width);
    if (!model) continue;
    const Candidate next = candidate(*model, asked, study);
    if (!best || better(next, *best)) best = next;
    if (next.model.layers == kFewestLayers && next.miss > kWorstMiss && next.parameters > asked)
      break;  // wider ones are further away
  }
  if (!best || best->miss > kWorstMiss)
    throw ConfigError(
        ErrorKind::kConfig,
        fmt::format("sizes: no legal shape has about {} parameters{}; give its layers, hidden_size, heads "
                    "and ffn_size, or a size that is nearer to one",
                    short_number(asked),
                    best ? fmt::format(" (nearest: {} with {} layers of {})", short_number(best->parameters),
                                       best->model.layers, best->model.hidden_size)
                         : std::string()));
  return best->model;
}

}  // namespace

ModelConfig shape_of(const Size& size, const Study& study) {
  if (size.parameters > 0) return shape_near(size, study);
  ModelConfig model = study.base.model;
  const auto by_rule = Shaper(study).of_width(size.hidden_size);
  if (by_rule) model = *by_rule;
  if (!by_rule && (size.heads == 0 || size.ffn_size == 0))
    throw ConfigError(ErrorKind::kConfig, fmt::format("sizes: no number of heads is legal for the hidden_size {} of "
                                                      "'{}' by the rule of shapes; give its heads and ffn_size",
                                                      size.hidden_size, size.name));
  model.hidden_size = size.hidden_size;
  model.layers = size.layers;
  if (size.heads > 0) model.heads = size.heads;
  if (size.ffn_size > 0) model.ffn_size = size.ffn_size;
  return model;
}

}  // namespace retain::study
