#include "trainer/model/one_rank_model.h"

namespace retain {

OneRankModel::OneRankModel(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute,
                           const BatchShape& shape, int64_t chunk, Residency residency)
    : mesh_(make_single_mesh()),
      tp_(mesh_->tp()),
      cp_(mesh_->cp()),
      model_(backend, tp_, cp_, parameters, Dimensions(model, shape, compute, 0, 1, chunk, backend.device()),
             residency),
      batch_buffer_(backend, batch_bytes(shape)) {
  Arena arena(batch_buffer_);
  batch_ = take_batch(arena, shape);
}

}  // namespace retain
