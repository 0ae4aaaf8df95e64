#include "trainer/inference/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/random.h"
#include "trainer/model/host_values.h"

namespace retain {

namespace {

// Tokens of the prompt read at once: a whole number of chunks of every backend.
constexpr int64_t kBlockTokens = 256;

}  // namespace

int32_t sample_token(const std::vector<double>& logits, const SamplingOptions& options, uint64_t index) {
  std::vector<int32_t> order;  // of the tokens that can be drawn
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<double>::infinity())
      throw Error(ErrorKind::kData,
                  concat("the model's logit of token ", i, " is ", logits[i], ": its weights are broken"));
    if (std::isfinite(logits[i])) order.push_back(static_cast<int32_t>(i));
  }
  if (order.empty()) throw Error(ErrorKind::kData, "there is no token that can be drawn");
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.temperature <= 0) return order[0];

  std::vector<double> weights(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / options.temperature);
    total += weights[i];
  }
  size_t kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < options.top_p * total)) mass += weights[kept++];

  const double uniform = static_cast<double>(philox_bits(stream_key(options.seed, "sampler"), index) >> 11) * 0x1p-53;
  double left = uniform * mass;
  for (size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

Decoder::Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute)
    : backend_(backend),
      vocab_size_(model.vocab_size),
      single_(backend, parameters, model, compute, {.sequences = 1, .tokens = 1}, 0, Residency::kInference),
      block_(backend, parameters, model, compute, {.sequences = 1, .tokens = kBlockTokens}, 0, Residency::kInference) {
  const auto take = [&](Arena& arena) {
    states_.clear();
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      const TensorView in = single_.model().take_state(arena, layer);
      states_.push_back({.in = in, .out = single_.model().take_state(arena, layer)});
    }
  };
  Arena planned;
  take(planned);
  states_buffer_ = Buffer(backend_, planned.used_bytes());
  Arena arena(states_buffer_);
  take(arena);
  for (const LayerStates& layer : states_) backend_.fill(layer.in, 0);
}

void Decoder::run(OneRankModel& stage, const int32_t* tokens, RetentionForm form) {
  DeviceBatch batch = stage.batch();
  batch.position_offset = position_;
  batch.document_start = {};
  backend_.upload(batch.tokens, tokens);
  stage.model().set_position_offset(position_);
  stage.model().forward(batch, form, &states_);
  for (LayerStates& layer : states_) std::swap(layer.in, layer.out);
  position_ += batch.shape.tokens;
}

std::vector<double> Decoder::feed(const std::vector<int32_t>& tokens) {
  RETAIN_CHECK(!tokens.empty(), "nothing to continue with");
  const auto count = static_cast<int64_t>(tokens.size());
  int64_t done = 0;
  OneRankModel* last = &single_;
  while (done < count) {
    last = count - done >= kBlockTokens ? &block_ : &single_;
    run(*last, tokens.data() + done, last == &block_ ? RetentionForm::kChunkwise : RetentionForm::kRecurrent);
    done += last->batch().shape.tokens;
  }
  const TensorView logits = last->model().logits(last->batch(), last->batch().shape.tokens - 1, 1);
  return download_wide(backend_, logits.slice(1, 0, vocab_size_));
}

}  // namespace retain
