#include "trainer/model/retnet.h"

#include <utility>

namespace retain {

namespace {

std::vector<Block> make_blocks(const Declarations& declare, const ModelConfig& model, const RetentionTables& tables) {
  std::vector<Block> blocks;
  for (int64_t i = 0; i < model.layers; ++i) {
    const Declarations layer = declare.in_part(1 + i).within("layers." + std::to_string(i) + ".");
    blocks.emplace_back(layer, model, make_mixer(layer, model, i, tables));
  }
  return blocks;
}

}  // namespace

RetNet::Layers::Layers(const Declarations& declare, const ModelConfig& model)
    : embedding(declare.in_part(0), model),
      blocks(make_blocks(declare, model, tables)),
      final_norm(declare.in_part(1 + model.layers), "final_norm.weight", model, logits_scaling(model)),
      head(declare.in_part(1 + model.layers), model) {}

void RetNet::Layers::take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency) {
  const auto take = [&] { return own.take(dims.compute, {dims.padded_rows(), dims.model.hidden_size}); };
  tables.take(own, dims);
  states.take(own, dims, blocks, residency);
  embedding.take_saved(own, dims);
  x0 = take();
  const Arena all_share = shared;
  for (Block& block : blocks) {
    Arena part = all_share;
    block.take_memory(own, part, dims, residency);
    if (part.used_bytes() > shared.used_bytes()) shared = part;
  }
  final_norm.take_memory(own, own, own, dims);
  loss = own.take(dims.accumulate(), {dims.rows()});
  if (residency == Residency::kTraining) dx = take();
  head.take_scratch(own, dims);
}

RetNet::MemoryPlan RetNet::plan(const Dimensions& dims, Residency residency) {
  DeclaredModel declared;
  Layers layers(Declarations(declared), dims.model);
  Arena own, shared;
  layers.take_memory(own, shared, dims, residency);
  return {.own_bytes = own.used_bytes(), .shared_bytes = shared.used_bytes()};
}

int64_t RetNet::state_bytes(const Dimensions& dims) {
  DeclaredModel declared;
  const Layers layers(Declarations(declared), dims.model);
  Arena arena;
  layers.blocks.front().mixer().take_state(arena, dims);
  return arena.used_bytes();
}

DeclaredModel RetNet::declare(const ModelConfig& model) {
  DeclaredModel declared;
  const Layers layers(Declarations(declared), model);
  return declared;
}

RetNet::RetNet(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
               const Dimensions& dims, Residency residency)
    : backend_(backend),
      tp_(tp),
      cp_(cp),
      parameters_(parameters),
      dims_(dims),
      rows_(backend, tp, dims.rows(), dims.tp_chunks),
      own_(backend, plan(dims, residency).own_bytes),
      shared_(backend, plan(dims, residency).shared_bytes),
      layers_(Declarations(declared_, parameters, residency), dims.model) {
  backend_.reserve_workspace(dims_.workspace(parameters.layout().flat_elements));
  Arena own(own_), shared(shared_);
  layers_.take_memory(own, shared, dims_, residency);
  layers_.tables.write(backend_, cp_.rank() * dims_.batch.tokens);
  if (residency == Residency::kInference) return;

  summed_gradients_ = {parameters.bucket_gradients(parameters.layout().buckets.size() - 1)};  // of the norms
  for (const DeclaredParameter& declared : declared_.parameters) {
    if (declared.use == ParameterUse::kLookUp) summed_gradients_.push_back(parameters.gradient(declared.name));
  }
}

Pass RetNet::pass(const DeviceBatch& batch, RetentionForm form) const {
  return {.backend = backend_, .tp = tp_, .rows = rows_, .cp = cp_, .dims = dims_, .batch = batch, .form = form};
}

TensorView RetNet::forward(const DeviceBatch& batch, RetentionForm form, const CarriedStates* states) {
  CarriedStates own = layers_.states.at(batch.segment);
  if (state_look_ && batch.segment + 1 == dims_.batch.segment_count) {
    for (LayerStates& layer : own) layer.out = seen_state_;
  }
  Pass pass = this->pass(batch, form);
  pass.states = states ? states : &own;
  return run_forward(pass);
}

TensorView RetNet::repeat_forward(const DeviceBatch& batch) {
  const CarriedStates states = layers_.states.at(batch.segment);
  Pass pass = this->pass(batch, RetentionForm::kChunkwise);
  pass.states = &states;
  pass.again = true;
  return run_forward(pass);
}

TensorView RetNet::run_forward(const Pass& pass) {
  if (dims_.batch.segment_count > 1) set_position_offset(pass.batch.position_offset);
  parameters_.await_weights(part(0).begin);
  Residual x{.stream = {}, .branch = layers_.x0};
  std::vector<RowStage> stages = layers_.embedding.forward(pass, layers_.x0);
  for (size_t i = 0; i < layers_.blocks.size(); ++i) {
    const Block& block = layers_.blocks[i];
    backend_.begin_layer(static_cast<int>(i));
    for (const RowStage& stage : block.before_mixing(pass, x)) {
      stages.push_back([&, stage](int64_t chunk) {
        parameters_.await_weights(part(1 + i).begin);  // no sooner: the block before goes on meanwhile
        return stage(chunk);
      });
    }
    rows_.run(stages);
    show(i, x.branch);
    block.mix(pass);
    if (state_look_ && (*pass.states)[i].out.data == seen_state_.data) state_look_(i, seen_state_);
    stages = block.after_mixing(pass);
    x = block.out();
  }
  stages.push_back([&](int64_t chunk) { return layers_.final_norm.forward(pass, x, chunk); });
  rows_.run(stages);
  show(layers_.blocks.size(), x.branch);
  parameters_.await_weights(0);  // the head's
  return normed();
}

void RetNet::show(size_t place, const TensorView& branch) const {
  if (!look_) return;
  for (int64_t chunk = 0; chunk < rows_.chunks(); ++chunk) look_(place, rows_.own(branch, chunk));
}

TensorView RetNet::loss(const DeviceBatch& batch) {
  layers_.head.forward(pass(batch, RetentionForm::kChunkwise), normed(), layers_.loss);
  return layers_.loss;
}

TensorView RetNet::logits(const DeviceBatch& batch, int64_t begin, int64_t count) {
  return layers_.head.logits(pass(batch, RetentionForm::kChunkwise), normed().slice(0, begin, count));
}

TensorView RetNet::loss_and_backward(const DeviceBatch& batch, const TensorView& scale, GradientWrite gradients,
                                     RetentionForm form, const std::function<void(int64_t flat_end)>& completed) {
  const auto report = [&](int64_t flat_end) {
    if (completed) completed(flat_end);
  };
  const CarriedStates states = layers_.states.at(batch.segment);
  Pass pass = this->pass(batch, form);
  pass.states = &states;
  pass.gradients = gradients;
  if (gradients == GradientWrite::kReplace) {
    for (const TensorView& summed : summed_gradients_) backend_.fill(summed, 0);
  }
  const TensorView& dx = layers_.dx;
  RowExchange reduced = layers_.head.forward_backward(pass, normed(), layers_.loss, scale, dx);
  report(part(1 + layers_.blocks.size()).end);
  layers_.final_norm.backward(pass, std::move(reduced), dx, dx, false).wait();
  for (size_t i = layers_.blocks.size(); i-- > 0;) {
    backend_.begin_layer(static_cast<int>(i));
    if (i + 1 < layers_.blocks.size()) layers_.blocks[i].repeat(pass);  // the last one's forward was just now
    layers_.blocks[i].backward(pass, dx);
    report(part(1 + i).end);
  }
  layers_.embedding.backward(pass, dx);
  report(parameters_.layout().flat_elements);
  return layers_.loss;
}

}  // namespace retain
