#include "trainer/inference/token_step.h"

#include <algorithm>
#include <bit>
#include <string>

#include "trainer/model/embedding.h"

namespace retain {

namespace {

/// The numbers of rows that are recorded: powers of two, of which the last is cut.
int64_t padded(int64_t rows, int64_t most) {
  return std::min(most, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows))));
}

}  // namespace

void gather_logits(Backend& backend, const TensorParallel& tp, const TensorView& own, const TensorView& gathered,
                   const TensorView& all) {
  const int64_t rows = own.shape[0], columns = own.shape[1], vocab = all.shape[1];
  tp.gather(gathered, own);
  for (int64_t rank = 0; rank < tp.size(); ++rank) {
    const int64_t begin = std::min(vocab, rank * columns), count = std::min(columns, vocab - begin);
    if (count > 0) backend.copy(all.slice(1, begin, count), gathered.slice(0, rank * rows, rows).slice(1, 0, count));
  }
}

TokenStep::TokenStep(Backend& backend, const TensorParallel& tp, const ParameterStore& parameters,
                     const Dimensions& dims, std::vector<TensorView> states)
    : backend_(backend), tp_(tp), dims_(dims), states_(std::move(states)) {
  dims_.batch = {.sequences = 1, .tokens = most_rows()};  // a row is a token of the tables
  dims_.logits_rows = most_rows();
  backend_.reserve_workspace(dims_.workspace(0));
  Arena planned;
  take(planned);
  buffer_ = Buffer(backend_, planned.used_bytes());
  Arena arena(buffer_);
  take(arena);
  host_.resize(static_cast<size_t>(inputs_.block.bytes()));
  Arena host(TensorView(host_.data(), DType::kUint8, {std::ssize(host_)}));
  host_inputs_ = take_inputs(host, most_rows());
  find_weights(parameters);
  tables_.write(backend_, 0);
  backend_.fill(tokens_, -1);
  backend_.fill(drawable_, 1);
}

TokenStep::Inputs TokenStep::take_inputs(Arena& arena, int64_t rows) {
  const auto ints = [&] { return arena.take(DType::kInt32, {rows}); };
  Inputs in;
  in.tokens = ints();
  in.slots = ints();
  in.positions = ints();
  in.top_k = ints();
  in.keys = arena.take(DType::kInt32, {rows, 2});
  in.options = arena.take(DType::kFloat32, {rows, 3});
  in.block = TensorView(in.tokens.data, DType::kUint8, {arena.used_bytes()});
  return in;
}

void TokenStep::take(Arena& arena) {
  const int64_t rows = most_rows(), d = dims_.model.hidden_size;
  const auto compute = [&](int64_t n, int64_t columns) { return arena.take(dims_.compute, {n, columns}); };
  inputs_ = take_inputs(arena, rows);
  tables_.take(arena, dims_);
  tokens_ = arena.take(DType::kInt32, {rows});
  drawable_ = arena.take(DType::kUint8, {dims_.model.vocab_size});
  x_ = compute(rows, d);
  normed_ = compute(rows, d);
  rstd_ = arena.take(dims_.accumulate(), {rows});
  qkvg_ = compute(rows, dims_.qkvg_columns());
  y_ = compute(rows, dims_.values());
  ab_ = compute(rows, dims_.ffn_columns());
  h_ = compute(rows, dims_.ffn_size);
  own_logits_ = compute(rows, dims_.vocab_rows);
  if (tp_.size() == 1) return;
  gathered_ = compute(tp_.size() * rows, dims_.vocab_rows);
  all_logits_ = compute(rows, dims_.model.vocab_size);
}

void TokenStep::find_weights(const ParameterStore& parameters) {
  const ModelConfig& model = dims_.model;
  embedding_ = parameters.weight(Embedding::kWeight);
  if (model.embedding_norm) embedding_norm_ = parameters.norm_weight("embedding_norm.weight");
  final_norm_ = parameters.norm_weight("final_norm.weight");
  head_ = parameters.weight(model.tie_embeddings ? Embedding::kWeight : "lm_head.weight");
  for (int64_t i = 0; i < model.layers; ++i) {
    const std::string name = "layers." + std::to_string(i) + ".", retention = name + "retention.", ffn = name + "ffn.";
    const bool gated = model.ffn != FfnKind::kGelu;
    layers_.push_back(
        {.norm = parameters.norm_weight(name + "retention_norm.weight"),
         .qkvg = parameters.fused_weight(retention + "q_proj.weight", retention + "g_proj.weight"),
         .o = parameters.weight(retention + "o_proj.weight"),
         .group_norm = model.group_norm_affine ? parameters.norm_weight(retention + "group_norm.weight") : TensorView{},
         .ffn_norm = parameters.norm_weight(name + "ffn_norm.weight"),
         .ffn_in =
             parameters.fused_weight(ffn + (gated ? "gate_proj.weight" : "up_proj.weight"), ffn + "up_proj.weight"),
         .down = parameters.weight(ffn + "down_proj.weight"),
         .states = states_[static_cast<size_t>(i)]});
  }
}

void TokenStep::set_drawable(std::span<const uint8_t> drawable) {
  RETAIN_CHECK(std::ssize(drawable) == drawable_.elements(), drawable.size(), " tokens, want ", drawable_);
  backend_.upload(drawable_, drawable.data());
}

void TokenStep::write_inputs(std::span<const TokenRow> rows, int64_t padded_rows) {
  for (int64_t i = 0; i < padded_rows; ++i) {
    // Rows that fill the step up continue nothing.
    const bool real = i < std::ssize(rows);
    const TokenRow row = real ? rows[static_cast<size_t>(i)] : TokenRow{.slot = -1, .token = 0};
    host_inputs_.tokens.as<int32_t>()[i] = row.token;
    host_inputs_.slots.as<int32_t>()[i] = row.slot;
    host_inputs_.positions.as<int32_t>()[i] = row.position;
    host_inputs_.top_k.as<int32_t>()[i] = row.sampling.top_k;
    host_inputs_.keys.as<int32_t>()[2 * i] = static_cast<int32_t>(row.sampling.key);
    host_inputs_.keys.as<int32_t>()[2 * i + 1] = static_cast<int32_t>(row.sampling.key >> 32);
    float* const options = host_inputs_.options.as<float>() + 3 * i;
    options[0] = row.sampling.temperature;
    options[1] = row.sampling.top_p;
    options[2] = row.sampling.min_p;
  }
  backend_.upload(inputs_.block, host_.data());
}

void TokenStep::queue(std::span<const TokenRow> rows, bool draws) {
  RETAIN_CHECK(!rows.empty() && std::ssize(rows) <= most_rows(), rows.size(), " rows of ", most_rows());
  const int64_t count = padded(std::ssize(rows), most_rows());
  for (const TokenRow& row : rows) {
    RETAIN_CHECK(row.slot >= 0 && row.slot < most_rows() && row.position >= 0, "slot ", row.slot, " of ", most_rows(),
                 " at ", row.position);
  }
  write_inputs(rows, count);
  const std::pair key(count, draws);
  Recorded& step = recordings_[key];
  // The exchanges of several ranks are not of the queue alone.
  if (step.known && !step.recording && tp_.size() == 1)
    step.recording = backend_.record([&] { compute(count, draws); });
  if (step.recording) return step.recording->queue();
  compute(count, draws);
  step.known = true;
}

void TokenStep::compute(int64_t rows, bool draws) const {
  tables_.set_positions(backend_, inputs_.positions.slice(0, 0, rows));
  embed(rows);
  for (int64_t i = 0; i < dims_.model.layers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    mix(layer, i, rows);
    feed_forward(layer, rows);
  }
  compute_logits(rows);
  if (draws) draw(rows);
}

void TokenStep::embed(int64_t rows) const {
  const TensorView x = stream(rows), normed = normed_.slice(0, 0, rows);
  const TensorView looked_up = dims_.model.embedding_norm ? normed : x;
  backend_.embedding({.tokens = inputs_.tokens.slice(0, 0, rows),
                      .weight = embedding_,
                      .x = looked_up,
                      .drawn = tokens_,
                      .places = inputs_.slots.slice(0, 0, rows),
                      .first_row = dims_.vocab.begin,
                      .scale = dims_.model.embedding_scale});
  tp_.sum(looked_up);
  if (!dims_.model.embedding_norm) return;
  backend_.rms_norm(
      {.x = normed, .weight = embedding_norm_, .y = x, .rstd = rstd_.slice(0, 0, rows), .eps = dims_.model.norm_eps});
}

ProjectArgs TokenStep::projection(const TensorView& x, const TensorView& weight, const TensorView& y) const {
  const int64_t rows = x.shape[0];
  return {.x = x,
          .weight = weight,
          .y = y,
          .normed = normed_.slice(0, 0, rows),
          .rstd = rstd_.slice(0, 0, rows),
          .product = ab_.slice(0, 0, rows),
          .eps = dims_.model.norm_eps};
}

void TokenStep::add_to_stream(const TensorView& x, const TensorView& weight) const {
  const TensorView y = stream(x.shape[0]);
  ProjectArgs product = projection(x, weight, y);
  product.adds = tp_.rank() == 0;  // once in the sum
  backend_.project(product);
  tp_.sum(y);
}

void TokenStep::mix(const Layer& layer, int64_t layer_index, int64_t rows) const {
  const TensorView qkvg = qkvg_.slice(0, 0, rows), y = y_.slice(0, 0, rows);
  ProjectArgs in = projection(stream(rows), layer.qkvg, qkvg);
  in.norm = layer.norm;
  backend_.project(in);
  const auto heads = [&](int64_t column, int64_t width) {
    return qkvg.slice(1, column, dims_.heads * width).split(1, dims_.heads, width);
  };
  const int64_t keys = dims_.keys();
  backend_.retention_step({.q = heads(0, dims_.key_dim),
                           .k = heads(keys, dims_.key_dim),
                           .v = heads(2 * keys, dims_.value_dim),
                           .g = heads(2 * keys + dims_.values(), dims_.value_dim),
                           .table = tables_.rotation().slice(0, 0, rows),
                           .log2_gamma = tables_.log2_gamma(layer_index),
                           .weight = layer.group_norm,
                           .states = layer.states,
                           .slots = inputs_.slots.slice(0, 0, rows),
                           .positions = inputs_.positions.slice(0, 0, rows),
                           .y = y.split(1, dims_.heads, dims_.value_dim),
                           .eps_kind = dims_.model.group_norm_eps,
                           .eps = dims_.model.head_eps()});
  add_to_stream(y, layer.o);
}

void TokenStep::feed_forward(const Layer& layer, int64_t rows) const {
  const TensorView h = h_.slice(0, 0, rows);
  ProjectArgs in = projection(stream(rows), layer.ffn_in, h);
  in.norm = layer.ffn_norm;
  in.activation = dims_.model.ffn;
  backend_.project(in);
  add_to_stream(h, layer.down);
}

void TokenStep::compute_logits(int64_t rows) const {
  const TensorView own = own_logits_.slice(0, 0, rows);
  ProjectArgs head = projection(stream(rows), head_, own);
  head.norm = final_norm_;
  backend_.project(head);
  if (tp_.size() == 1) return;
  gather_logits(backend_, tp_, own, gathered_.slice(0, 0, tp_.size() * rows), all_logits_.slice(0, 0, rows));
}

TensorView TokenStep::logits(int64_t rows) const {
  return tp_.size() == 1 ? own_logits_.slice(0, 0, rows).slice(1, 0, dims_.model.vocab_size)
                         : all_logits_.slice(0, 0, rows);
}

void TokenStep::draw(int64_t rows) const {
  backend_.sample_tokens({.logits = logits(rows),
                          .drawable = drawable_,
                          .options = inputs_.options.slice(0, 0, rows),
                          .top_k = inputs_.top_k.slice(0, 0, rows),
                          .keys = inputs_.keys.slice(0, 0, rows),
                          .positions = inputs_.positions.slice(0, 0, rows),
                          .places = inputs_.slots.slice(0, 0, rows),
                          .tokens = tokens_});
}

}  // namespace retain
