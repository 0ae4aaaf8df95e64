#include "trainer/trainer.h"

namespace retain {

namespace {

// The scratch is reserved before anything runs on the backend.
Backend& with_workspace(Backend& backend, const Dimensions& dims, const ParameterLayout& layout) {
  backend.reserve_workspace(dims.workspace(layout.flat_elements));
  return backend;
}

}  // namespace

Trainer::Trainer(Backend& backend, Mesh& mesh, const Config& config, const Target& target)
    : backend_(backend),
      mesh_(mesh),
      config_(config),
      tp_(mesh.tp()),
      cp_(mesh.cp()),
      dims_(make_dimensions(config, mesh.shape(), mesh.at().tp, target)),
      layout_(config.model, mesh.at().tp, mesh.shape().tp, mesh.replicas().size()),
      share_(even_shard(layout_.flat_elements, mesh.replicas().rank(), mesh.replicas().size())),
      parameters_(backend, layout_, target.compute,
                  optimizer_slice(config, layout_, mesh.replicas().rank(), mesh.replicas().size()),
                  Residency::kTraining),
      model_(with_workspace(backend, dims_, layout_), tp_, cp_, parameters_, dims_, Residency::kTraining),
      loader_(config.data, config.train, config.model.vocab_size, config.run.seed, mesh.shape(), mesh.at()),
      step_(backend, mesh, config, parameters_, model_, loader_) {
  parameters_.initialize(config.run.seed);
}

}  // namespace retain
