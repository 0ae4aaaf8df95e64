#include "trainer/inference/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/core/error.h"

namespace retain {

namespace {

// Tokens that are read at once. A GPU needs some thousand for its products to run at full speed; a CPU's blocks are to
// stay in its cache.
std::vector<int64_t> block_tokens(Device device) {
  return device == Device::kCuda ? std::vector<int64_t>{2048, 256, 32} : std::vector<int64_t>{256};
}

// Logits that are on their way to the host at once.
constexpr int64_t kLogitsRows = 128;

}  // namespace

Decoder::Scored Decoder::score(std::span<const float> logits, int32_t token, int top) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) - most);
  const double log_sum = most + std::log(sum);
  const auto log_probability = [&](int32_t i) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(i)]) - log_sum);
  };
  Scored scored{.log_probability = log_probability(token), .top = {}};
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

Decoder::Block::Block(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
                      const Dimensions& dims)
    : model(backend, tp, cp, parameters, dims, Residency::kInference), batch_buffer(backend, batch_bytes(dims.batch)) {
  Arena arena(batch_buffer);
  batch = take_batch(arena, dims.batch);
  batch.document_start = {};
}

Decoder::Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute,
                 int64_t slots)
    : Decoder(backend, make_single_mesh(), nullptr, parameters, model, compute, slots) {}

Decoder::Decoder(Backend& backend, Communicator& tp, const ParameterStore& parameters, const ModelConfig& model,
                 DType compute, int64_t slots)
    : Decoder(backend, make_single_mesh(), &tp, parameters, model, compute, slots) {}

Decoder::Decoder(Backend& backend, std::unique_ptr<Mesh> alone, Communicator* tp, const ParameterStore& parameters,
                 const ModelConfig& model, DType compute, int64_t slots)
    : backend_(backend),
      vocab_size_(model.vocab_size),
      alone_(std::move(alone)),
      tp_(tp != nullptr ? *tp : alone_->tp()),
      cp_(alone_->cp()),
      states_(take_states(dimensions(model, compute, 1), model.layers, slots)),
      step_(backend, tp_, parameters, dimensions(model, compute, 1), states_),
      sequences_(static_cast<size_t>(slots)) {
  for (const int64_t tokens : block_tokens(backend.device())) {
    blocks_.push_back(std::make_unique<Block>(backend, tp_, cp_, parameters, dimensions(model, compute, tokens)));
  }
  const int64_t rows = std::max(kLogitsRows, slots), columns = dimensions(model, compute, 1).vocab_rows;
  const auto take = [&](Arena& arena) {
    logits_ = arena.take(DType::kFloat32, {rows, vocab_size_});
    if (tp_.size() == 1) return;
    gathered_ = arena.take(compute, {tp_.size() * kLogitsRows, columns});
    all_logits_ = arena.take(compute, {kLogitsRows, vocab_size_});
  };
  Arena planned;
  take(planned);
  logits_buffer_ = Buffer(backend_, planned.used_bytes());
  Arena arena(logits_buffer_);
  take(arena);
  for (auto& buffer : drawn_buffers_) buffer = backend_.make_host_buffer(step_.tokens().bytes());
}

Dimensions Decoder::dimensions(const ModelConfig& model, DType compute, int64_t tokens) const {
  return {model, {.sequences = 1, .tokens = tokens}, compute, tp_.rank(), tp_.size(), 0, backend_.device()};
}

std::vector<TensorView> Decoder::take_states(const Dimensions& dims, int64_t layers, int64_t slots) {
  RETAIN_CHECK(slots > 0, slots, " slots");
  const auto take = [&](Arena& arena) {
    std::vector<TensorView> states;
    for (int64_t layer = 0; layer < layers; ++layer)
      states.push_back(arena.take(dims.accumulate(), {slots, dims.heads, dims.key_dim, dims.value_dim}));
    return states;
  };
  Arena planned;
  take(planned);
  states_buffer_ = Buffer(backend_, planned.used_bytes());
  Arena arena(states_buffer_);
  std::vector<TensorView> states = take(arena);
  for (const TensorView& state : states) backend_.fill(state, 0);
  return states;
}

int64_t Decoder::state_bytes() const { return std::ssize(states_) * states_[0].bytes() / slots(); }

Decoder::Sequence& Decoder::sequence(int64_t slot) {
  return const_cast<Sequence&>(std::as_const(*this).sequence(slot));
}

const Decoder::Sequence& Decoder::sequence(int64_t slot) const {
  RETAIN_CHECK(slot >= 0 && slot < slots(), "slot ", slot, " of ", slots());
  return sequences_[static_cast<size_t>(slot)];
}

void Decoder::begin(int64_t slot, int64_t position) {
  sequence(slot) = {.position = position, .logits = {}};
  for (const TensorView& states : states_) backend_.fill(states.slice(0, slot, 1), 0);
}

Decoder::Block* Decoder::block_of(int64_t tokens) {
  const auto found = std::find_if(blocks_.begin(), blocks_.end(),
                                  [&](const auto& block) { return block->batch.shape.tokens <= tokens; });
  return found == blocks_.end() ? nullptr : found->get();
}

void Decoder::read_block(Block& block, int64_t slot, const int32_t* tokens) {
  CarriedStates carried;
  for (const TensorView& states : states_) {
    const TensorView state = states.slice(0, slot, 1);
    carried.push_back({.in = state, .out = state});
  }
  block.batch.position_offset = position(slot);
  backend_.upload(block.batch.tokens, tokens);
  block.model.set_position_offset(position(slot));
  block.model.forward(block.batch, RetentionForm::kChunkwise, &carried);
}

int64_t Decoder::read(int64_t slot, std::span<const int32_t> tokens) {
  Sequence& sequence = this->sequence(slot);
  Block* const block = block_of(std::ssize(tokens));
  if (block != nullptr) {
    read_block(*block, slot, tokens.data());
  } else {
    const TokenRow row{
        .slot = static_cast<int32_t>(slot), .position = static_cast<int32_t>(sequence.position), .token = tokens[0]};
    step_.queue(std::span(&row, 1), false);
  }
  const int64_t count = block != nullptr ? block->batch.shape.tokens : 1;
  sequence.position += count;
  return count;
}

Decoder::Rows Decoder::read_logits(int64_t count, int64_t begin, int64_t end) {
  if (count == 1) return download(step_.logits(1));
  Block& block = *block_of(count);
  const TensorView own = block.model.logits(block.batch, begin, end - begin);
  if (tp_.size() == 1) return download(own.slice(1, 0, vocab_size_));
  const TensorView all = all_logits_.slice(0, 0, end - begin);
  gather_logits(backend_, tp_, own, gathered_.slice(0, 0, tp_.size() * (end - begin)), all);
  return download(all);
}

Decoder::Rows Decoder::download(const TensorView& logits) {
  const TensorView wide = logits_.slice(0, 0, logits.shape[0]);
  backend_.copy(wide, logits);
  Rows rows(static_cast<size_t>(wide.elements()));
  backend_.download(rows.data(), wide);
  return rows;
}

std::vector<float> Decoder::feed(int64_t slot, std::span<const int32_t> tokens) {
  RETAIN_CHECK(!tokens.empty(), "nothing to continue with");
  int64_t count = 0;
  for (auto left = tokens; !left.empty(); left = left.subspan(static_cast<size_t>(count))) count = read(slot, left);
  return sequence(slot).logits = read_logits(count, count - 1, count);
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
  int64_t count = 0;
  for (auto left = tokens; !left.empty(); left = left.subspan(static_cast<size_t>(count))) {
    count = read(slot, left);
    for (int64_t begin = 0; begin < count; begin += kLogitsRows) {
      const Rows rows = read_logits(count, begin, std::min(count, begin + kLogitsRows));
      for (auto row = rows.begin(); row != rows.end(); row += vocab_size_) {
        before.assign(row, row + vocab_size_);
        if (scored.size() < tokens.size()) next();
      }
    }
  }
  return before;
}

std::vector<float> Decoder::step(std::span<const Continuation> continuations) {
  std::vector<TokenRow> rows;
  for (const auto& [slot, token] : continuations) {
    RETAIN_CHECK(token >= 0, "token ", token);
    rows.push_back({.slot = static_cast<int32_t>(slot),
                    .position = static_cast<int32_t>(sequence(slot).position++),
                    .token = token});
  }
  step_.queue(rows, false);
  Rows all = download(step_.logits(std::ssize(rows)));
  auto row = all.begin();
  for (const Continuation& one : continuations) {
    sequence(one.slot).logits.assign(row, row + vocab_size_);
    row += vocab_size_;
  }
  return all;
}

void Decoder::queue_step(std::span<const Draw> draws) {
  RETAIN_CHECK(drawn_.size() < drawn_buffers_.size(), "the tokens of ", drawn_.size(), " steps were not taken");
  std::vector<TokenRow> rows;
  std::vector<int64_t> slots;
  for (const Draw& draw : draws) {
    Sequence& sequence = this->sequence(draw.slot);
    rows.push_back({.slot = static_cast<int32_t>(draw.slot),
                    .position = static_cast<int32_t>(sequence.position++),
                    .token = draw.token,
                    .sampling = draw.sampling});
    sequence.logits.clear();
    slots.push_back(draw.slot);
  }
  step_.queue(rows, true);
  HostBuffer* const buffer = drawn_buffers_[next_buffer_].get();
  next_buffer_ = (next_buffer_ + 1) % drawn_buffers_.size();
  const TensorView tokens = step_.tokens();
  buffer->begin_copy(std::span(&tokens, 1));
  buffer->hold_queue();  // the next step draws others
  drawn_.push_back({std::move(slots), buffer});
}

std::vector<int32_t> Decoder::next_tokens() {
  RETAIN_CHECK(!drawn_.empty(), "no step was queued");
  const Drawn drawn = std::move(drawn_.front());
  drawn_.pop_front();
  drawn.tokens->wait();
  const auto* const all = reinterpret_cast<const int32_t*>(drawn.tokens->data());
  std::vector<int32_t> tokens;
  for (const int64_t slot : drawn.slots) tokens.push_back(all[slot]);
  return tokens;
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
