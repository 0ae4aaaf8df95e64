#include "trainer/inference/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/core/error.h"

namespace retain {

namespace {

// Tokens that are read at once. A GPU needs some thousand for its products to run at full speed; a CPU's blocks are to
// stay in its cache.
std::vector<int64_t> block_tokens(Device device) {
  return device == Device::kCuda ? std::vector<int64_t>{2048, 256, 32, 1} : std::vector<int64_t>{256, 1};
}

// Logits that are on their way to the host at once.
constexpr int64_t kLogitsRows = 128;

Decoder::Scored score(std::span<const float> logits, int32_t token, int top) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) - most);
  const double log_sum = most + std::log(sum);
  const auto log_probability = [&](int32_t i) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(i)]) - log_sum);
  };
  Decoder::Scored scored{.log_probability = log_probability(token), .top = {}};
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<std::ptrdiff_t>(top, std::ssize(order));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float za = logits[static_cast<size_t>(a)], zb = logits[static_cast<size_t>(b)];
    return za > zb || (za == zb && a < b);
  });
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const int32_t likely = order[static_cast<size_t>(i)];
    scored.top.emplace_back(likely, log_probability(likely));
  }
  return scored;
}

}  // namespace

Decoder::Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute,
                 int64_t slots)
    : backend_(backend), vocab_size_(model.vocab_size), sequences_(static_cast<size_t>(slots)) {
  RETAIN_CHECK(slots > 0, slots, " slots");
  for (const int64_t tokens : block_tokens(backend.device())) {
    stages_.push_back(std::make_unique<OneRankModel>(
        backend, parameters, model, compute, BatchShape{.sequences = 1, .tokens = tokens}, 0, Residency::kInference));
  }
  const Dimensions& dims = stages_.back()->model().dims();
  const auto take = [&](Arena& arena) {
    states_.clear();
    for (int64_t layer = 0; layer < model.layers; ++layer)
      states_.push_back(arena.take(dims.accumulate(), {slots, dims.heads, dims.key_dim, dims.value_dim}));
  };
  Arena planned;
  take(planned);
  states_buffer_ = Buffer(backend_, planned.used_bytes());
  Arena arena(states_buffer_);
  take(arena);
  logits_buffer_ = Buffer(backend_, kLogitsRows * vocab_size_ * dtype_bytes(DType::kFloat32));
  logits_ = TensorView(logits_buffer_.data(), DType::kFloat32, {kLogitsRows, vocab_size_});
  for (const TensorView& states : states_) backend_.fill(states, 0);
}

int64_t Decoder::state_bytes() const { return std::ssize(states_) * states_[0].bytes() / slots(); }

Decoder::Sequence& Decoder::sequence(int64_t slot) {
  RETAIN_CHECK(slot >= 0 && slot < slots(), "slot ", slot, " of ", slots());
  return sequences_[static_cast<size_t>(slot)];
}

const Decoder::Sequence& Decoder::sequence(int64_t slot) const {
  RETAIN_CHECK(slot >= 0 && slot < slots(), "slot ", slot, " of ", slots());
  return sequences_[static_cast<size_t>(slot)];
}

CarriedStates Decoder::states_of(int64_t slot) const {
  CarriedStates carried;
  for (const TensorView& states : states_) {
    const TensorView state = states.slice(0, slot, 1);
    carried.push_back({.in = state, .out = state});
  }
  return carried;
}

void Decoder::begin(int64_t slot) {
  sequence(slot) = {};
  for (const TensorView& states : states_) backend_.fill(states.slice(0, slot, 1), 0);
}

OneRankModel& Decoder::stage_for(int64_t tokens) {
  return **std::find_if(stages_.begin(), stages_.end(),
                        [&](const auto& stage) { return stage->batch().shape.tokens <= tokens; });
}

void Decoder::run(OneRankModel& stage, int64_t slot, const int32_t* tokens) {
  Sequence& sequence = this->sequence(slot);
  DeviceBatch batch = stage.batch();
  batch.position_offset = sequence.position;
  batch.document_start = {};
  backend_.upload(batch.tokens, tokens);
  stage.model().set_position_offset(sequence.position);
  const CarriedStates states = states_of(slot);
  const bool one = batch.shape.tokens == 1;
  stage.model().forward(batch, one ? RetentionForm::kRecurrent : RetentionForm::kChunkwise, &states);
  sequence.position += batch.shape.tokens;
}

Decoder::Rows Decoder::logits(OneRankModel& stage, int64_t begin, int64_t count) {
  const TensorView narrow = stage.model().logits(stage.batch(), begin, count).slice(1, 0, vocab_size_);
  const TensorView wide = logits_.slice(0, 0, count);
  backend_.copy(wide, narrow);
  Rows rows(static_cast<size_t>(wide.elements()));
  backend_.download(rows.data(), wide);
  return rows;
}

std::vector<float> Decoder::feed(int64_t slot, std::span<const int32_t> tokens) {
  RETAIN_CHECK(!tokens.empty(), "nothing to continue with");
  OneRankModel* last = nullptr;
  for (auto left = tokens; !left.empty(); left = left.subspan(static_cast<size_t>(last->batch().shape.tokens))) {
    last = &stage_for(std::ssize(left));
    run(*last, slot, left.data());
  }
  return sequence(slot).logits = logits(*last, last->batch().shape.tokens - 1, 1);
}

std::vector<float> Decoder::feed_scored(int64_t slot, std::span<const int32_t> tokens, int top,
                                        std::vector<Scored>& scored) {
  RETAIN_CHECK(!tokens.empty(), "nothing to continue with");
  scored.clear();
  std::vector<float>& before = sequence(slot).logits;  // each token's
  const auto next = [&] {
    const int32_t token = tokens[scored.size()];
    scored.push_back(before.empty() ? Scored{.log_probability = std::numeric_limits<float>::quiet_NaN(), .top = {}}
                                    : score(before, token, top));
  };
  next();
  for (auto left = tokens; !left.empty();) {
    OneRankModel& stage = stage_for(std::ssize(left));
    const int64_t count = stage.batch().shape.tokens;
    run(stage, slot, left.data());
    left = left.subspan(static_cast<size_t>(count));
    for (int64_t begin = 0; begin < count; begin += kLogitsRows) {
      const Rows rows = logits(stage, begin, std::min(kLogitsRows, count - begin));
      for (auto row = rows.begin(); row != rows.end(); row += vocab_size_) {
        before.assign(row, row + vocab_size_);
        if (scored.size() < tokens.size()) next();
      }
    }
  }
  return before;
}

std::vector<float> Decoder::step(std::span<const Continuation> continuations) {
  Rows all;
  for (const Continuation& one : continuations) {
    const std::vector<float> row = feed(one.slot, std::span(&one.token, 1));
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

Decoder::SavedState Decoder::save(int64_t slot) const {
  SavedState saved{.position = sequence(slot).position, .layers = {}};
  saved.layers.resize(static_cast<size_t>(state_bytes()));
  std::byte* to = saved.layers.data();
  for (const TensorView& states : states_) {
    const TensorView state = states.slice(0, slot, 1);
    backend_.download(to, state);
    to += state.bytes();
  }
  return saved;
}

void Decoder::load(int64_t slot, const SavedState& saved) {
  if (std::ssize(saved.layers) != state_bytes() || saved.position < 0) {
    throw Error(ErrorKind::kData, concat("a saved state of ", saved.layers.size(), " bytes at position ",
                                         saved.position, " is none of this model, whose states have ", state_bytes()));
  }
  sequence(slot) = {.position = saved.position, .logits = {}};
  const std::byte* from = saved.layers.data();
  for (const TensorView& states : states_) {
    const TensorView state = states.slice(0, slot, 1);
    backend_.upload(state, from);
    from += state.bytes();
  }
}

}  // namespace retain
