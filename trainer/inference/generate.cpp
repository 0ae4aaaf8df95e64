#include "trainer/inference/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/random.h"

namespace retain {

namespace {

// Tokens of the prompt read at once: a whole number of chunks of every backend.
constexpr int64_t kBlockTokens = 256;

}  // namespace

int32_t sample_token(const std::vector<double>& logits, const SamplingOptions& options, uint64_t index) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0) return static_cast<int32_t>(likeliest - logits.begin());

  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> weights(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weights[i] = std::exp((logits[order[i]] - *likeliest) / options.temperature);
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

Decoder::Stage Decoder::make_stage(const ParameterStore& parameters, const ModelConfig& model, DType compute,
                                   int64_t tokens) {
  const BatchShape shape{.sequences = 1, .tokens = tokens};
  const Dimensions dims(model, shape, compute, 0, 1, 0, backend_.device());
  Stage stage{.tokens = tokens, .model = nullptr, .buffer = {}, .batch = {}};
  backend_.reserve_workspace(dims.workspace(parameters.layout().flat_elements));
  stage.model = std::make_unique<RetNet>(backend_, tp_, cp_, parameters, dims, Residency::kInference);
  Arena planned;
  take_batch(planned, shape);
  stage.buffer = Buffer(backend_, planned.peak_bytes());
  Arena arena(stage.buffer);
  stage.batch = take_batch(arena, shape);
  stage.batch.document_start = {};
  return stage;
}

Decoder::Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute)
    : backend_(backend),
      alone_(make_self_communicator()),
      tp_(*alone_),
      cp_(*alone_),
      vocab_size_(model.vocab_size),
      single_(make_stage(parameters, model, compute, 1)),
      block_(make_stage(parameters, model, compute, kBlockTokens)) {
  const Dimensions& dims = single_.model->dims();
  const auto take = [&](Arena& arena, std::vector<TensorView>& states) {
    states.clear();
    for (int64_t i = 0; i < model.layers; ++i) {
      states.push_back(arena.take(dims.accumulate(), {1, dims.heads, dims.key_dim, dims.value_dim}));
    }
  };
  Arena planned;
  take(planned, carried_.in);
  take(planned, carried_.out);
  states_buffer_ = Buffer(backend_, planned.peak_bytes());
  Arena arena(states_buffer_);
  take(arena, carried_.in);
  take(arena, carried_.out);
  for (const TensorView& state : carried_.in) backend_.fill(state, 0);
}

void Decoder::run(Stage& stage, const int32_t* tokens, RetentionForm form) {
  backend_.upload(stage.batch.tokens, tokens);
  stage.batch.position_offset = position_;
  stage.model->set_position_offset(position_);
  stage.model->forward(stage.batch, form, &carried_);
  std::swap(carried_.in, carried_.out);
  position_ += stage.tokens;
}

std::vector<double> Decoder::feed(const std::vector<int32_t>& tokens) {
  RETAIN_CHECK(!tokens.empty(), "nothing to continue with");
  const auto count = static_cast<int64_t>(tokens.size());
  int64_t done = 0;
  Stage* last = &single_;
  while (done < count) {
    last = count - done >= kBlockTokens ? &block_ : &single_;
    run(*last, tokens.data() + done, last == &block_ ? RetentionForm::kChunkwise : RetentionForm::kRecurrent);
    done += last->tokens;
  }
  const TensorView logits = last->model->logits(last->batch, last->tokens - 1, 1);
  const Buffer wide_buffer(backend_, logits.elements() * dtype_bytes(DType::kFloat32));
  const TensorView wide(wide_buffer.data(), DType::kFloat32, {1, logits.shape[1]});
  backend_.copy(wide, logits);
  std::vector<float> values(logits.shape[1]);
  backend_.download(values.data(), wide);
  return {values.begin(), values.begin() + vocab_size_};
}

}  // namespace retain
