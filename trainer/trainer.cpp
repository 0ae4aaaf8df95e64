#include "trainer/trainer.h"

namespace retain {

Progress advance(const Progress& progress, const Config& config, int64_t steps) {
  const int64_t tokens = steps * config.train.batch_tokens;
  return {.steps = progress.steps + steps,
          .tokens = progress.tokens + tokens,
          .samples = progress.samples + tokens / config.data.seq_len};
}

Trainer::Trainer(Backend& backend, Mesh& mesh, const Config& config, const Target& target, int64_t bucket_elements)
    : backend_(backend),
      mesh_(mesh),
      config_(config),
      tp_(mesh.tp()),
      cp_(mesh.cp()),
      dims_(make_dimensions(config, mesh.shape(), mesh.at().tp, target)),
      layout_(config.model, mesh.at().tp, mesh.shape().tp, mesh.replicas().size(), bucket_elements),
      reducer_(mesh, layout_.buckets, config.parallel.zero),
      parameters_(backend, layout_, target.compute, reducer_.updated(), Residency::kTraining, reducer_.kept()),
      exchange_(backend, mesh, reducer_, parameters_, config.parallel.gradient_dtype),
      model_(backend, tp_, cp_, parameters_, dims_, Residency::kTraining),
      loader_(config.data, config.train, config.model.vocab_size, config.run.seed, mesh.shape(), mesh.at(),
              dims_.batch.segment_tokens(), mesh.host(), &backend.activity()),
      state_digest_(backend, parameters_, reducer_.share(), mesh.at().tp),
      layer_norms_(backend, parameters_, reducer_.share(), mesh.at(), LayerNorms::memory_bytes(config.log, dims_)),
      buffer_(backend, step_memory_bytes(dims_.batch, loader_.rounds(), replay_fingerprints(config.numerics, layout_))),
      recordings_(backend, records_steps(config, mesh.shape().ranks())) {
  if (config.numerics.check_replicas_every > 0) replica_check_.emplace(backend, mesh, parameters_);
  Arena arena(buffer_);
  work_ = take_work_memory(arena, dims_.batch);
  for (Slot& slot : slots_) {
    take_slot_memory(arena, dims_.batch, loader_.rounds(), replay_fingerprints(config.numerics, layout_), slot);
    slot.packed_memory = backend.make_host_buffer(slot.batches.block.bytes());
    slot.results_on_host = backend.make_host_buffer(slot.result_bytes());
    Arena host(TensorView(slot.packed_memory->data(), DType::kUint8, {slot.packed_memory->bytes()}));
    slot.packed = take_step_batches(host, dims_.batch, loader_.rounds());
  }
  parameters_.initialize(config.run.seed);
}

}  // namespace retain
