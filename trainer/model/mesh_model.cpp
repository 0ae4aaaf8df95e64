#include "trainer/model/mesh_model.h"

namespace retain {

MeshModel::MeshModel(Backend& backend, Mesh& mesh, const ParameterStore& parameters, const ModelConfig& model,
                     DType compute, const BatchShape& shape, int64_t chunk, Residency residency)
    : backend_(backend),
      mesh_(mesh),
      tp_(mesh.tp()),
      cp_(mesh.cp()),
      model_(backend, tp_, cp_, parameters,
             Dimensions(model, shape, compute, mesh.at().tp, mesh.shape().tp, chunk, backend.device()), residency),
      batch_buffer_(backend, batch_bytes(shape)) {
  Arena arena(batch_buffer_);
  batch_ = take_batch(arena, shape);
}

}  // namespace retain
