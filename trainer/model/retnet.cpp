#include "trainer/model/retnet.h"

namespace retain {

RetNet::Memory RetNet::take_memory(Arena& arena, const Dimensions& dims, int tp_size, Residency residency) {
  const int64_t n = dims.rows(), d = dims.model.hidden_size;
  Memory memory;
  memory.rotation = arena.take(dims.accumulate(), {dims.batch.tokens, dims.key_dim / 2, 2});
  memory.log2_gamma = arena.take(DType::kFloat64, {dims.heads});
  memory.embedding = Embedding::take_saved(arena, dims);
  memory.x0 = arena.take(dims.compute, {n, d});
  const int64_t kept = residency == Residency::kTraining ? dims.model.layers : 1;
  for (int64_t i = 0; i < kept; ++i) memory.blocks.push_back(Block::take_saved(arena, dims, residency));
  memory.x_final = arena.take(dims.compute, {n, d});
  memory.y_final = arena.take(dims.compute, {n, d});
  memory.rstd_final = arena.take(dims.accumulate(), {n});
  memory.loss = arena.take(dims.accumulate(), {n});
  if (residency == Residency::kTraining) memory.dx = arena.take(dims.compute, {n, d});
  memory.loss_scratch = LossHead::take_scratch(arena, dims, tp_size);
  memory.scratch = Block::take_scratch(arena, dims, residency);
  return memory;
}

int64_t RetNet::memory_bytes(const Dimensions& dims, int tp_size, Residency residency) {
  Arena arena;
  take_memory(arena, dims, tp_size, residency);
  return arena.peak_bytes();
}

RetNet::RetNet(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
               const Dimensions& dims, Residency residency)
    : backend_(backend),
      tp_(tp),
      cp_(cp),
      dims_(dims),
      buffer_(backend, memory_bytes(dims, tp.size(), residency)),
      embedding_(parameters, dims.model, residency),
      head_(parameters, dims.model, residency) {
  Arena arena(buffer_);
  memory_ = take_memory(arena, dims_, tp_.size(), residency);
  for (int64_t i = 0; i < dims_.model.layers; ++i) blocks_.emplace_back(parameters, dims_.model, i, residency);
  final_norm_weight_ = parameters.norm_weight("final_norm.weight");
  if (residency == Residency::kTraining) {
    final_norm_gradient_ = parameters.gradient("final_norm.weight");
    const int64_t norms = parameters.layout().norms.begin;
    summed_gradients_ = {parameters.flat_gradients().slice(0, norms, parameters.layout().flat_elements - norms)};
    if (!dims_.model.tie_embeddings) summed_gradients_.push_back(parameters.gradient("embeddings.weight"));
  }

  tables_ = {.rotation = memory_.rotation, .log2_gamma = memory_.log2_gamma};
  upload_rounded(backend_, memory_.log2_gamma,
                 log2_gammas(dims_.model.decay, dims_.model.heads, dims_.first_head, dims_.heads));
  set_position_offset(cp_.rank() * dims_.batch.tokens);
}

void RetNet::set_position_offset(int64_t offset) {
  upload_rounded(backend_, memory_.rotation,
                 rotation_table(dims_.model.rotary, dims_.key_dim, offset, dims_.batch.tokens));
}

Context RetNet::context(const DeviceBatch& batch, RetentionForm form, const CarriedStates* carried) const {
  return {.backend = backend_,
          .tp = tp_,
          .cp = cp_,
          .dims = dims_,
          .batch = batch,
          .tables = tables_,
          .form = form,
          .carried = carried};
}

TensorView RetNet::forward(const DeviceBatch& batch, RetentionForm form, const CarriedStates* carried) {
  const Context ctx = context(batch, form, carried);
  embedding_.forward(ctx, memory_.x0, memory_.embedding);
  TensorView stream = memory_.x0, branch;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    Block::Saved& block = saved(static_cast<int64_t>(i));
    blocks_[i].forward(ctx, stream, branch, block, memory_.scratch);
    stream = block.x_mid;
    branch = memory_.scratch.branch;
  }
  backend_.rms_norm({.x = stream,
                     .residual = branch,
                     .weight = final_norm_weight_,
                     .sum = memory_.x_final,
                     .y = memory_.y_final,
                     .rstd = memory_.rstd_final,
                     .eps = dims_.model.norm_eps});
  return memory_.y_final;
}

TensorView RetNet::loss(const DeviceBatch& batch) {
  head_.forward(context(batch, RetentionForm::kChunkwise, nullptr), memory_.y_final, memory_.loss,
                memory_.loss_scratch);
  return memory_.loss;
}

TensorView RetNet::logits(const DeviceBatch& batch, int64_t begin, int64_t count) {
  return head_.logits(context(batch, RetentionForm::kChunkwise, nullptr), memory_.y_final.slice(0, begin, count),
                      memory_.loss_scratch);
}

TensorView RetNet::loss_and_backward(const DeviceBatch& batch, double scale, GradientWrite gradients,
                                     RetentionForm form) {
  Context ctx = context(batch, form, nullptr);
  ctx.gradients = gradients;
  if (gradients == GradientWrite::kReplace) {
    for (const TensorView& summed : summed_gradients_) backend_.fill(summed, 0);
  }
  head_.forward_backward(ctx, memory_.y_final, memory_.loss, scale, memory_.loss_scratch, memory_.dx);
  backend_.rms_norm_backward({.dy = memory_.dx,
                              .x = memory_.x_final,
                              .weight = final_norm_weight_,
                              .rstd = memory_.rstd_final,
                              .dx = memory_.dx,
                              .dweight = final_norm_gradient_});
  for (size_t i = blocks_.size(); i-- > 0;) {
    blocks_[i].backward(ctx, saved(static_cast<int64_t>(i)), memory_.scratch, memory_.dx);
  }
  embedding_.backward(ctx, memory_.embedding, memory_.dx);
  return memory_.loss;
}

}  // namespace retain
