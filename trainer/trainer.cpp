#include "trainer/trainer.h"

namespace retain {

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
      model_(backend, tp_, cp_, parameters_, dims_, Residency::kTraining),
      loader_(config.data, config.train, config.model.vocab_size, config.run.seed, mesh.shape(), mesh.at()),
      step_(backend, mesh, config, parameters_, model_, loader_) {
  parameters_.initialize(config.run.seed);
}

}  // namespace retain
