// A model alone on one rank, with the memory of its batch: what evaluates, decodes and compares without a trainer.
#pragma once

#include <memory>

#include "parallel/mesh.h"
#include "trainer/model/retnet.h"

namespace retain {

class OneRankModel {
 public:
  /// `parameters` hold the whole model (one tp rank); `chunk` as in train.chunk, 0: auto. The backend and the
  /// parameters outlive it.
  OneRankModel(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute,
               const BatchShape& shape, int64_t chunk, Residency residency);

  Mesh& mesh() { return *mesh_; }
  RetNet& model() { return model_; }
  /// Memory of a batch (see upload_batch).
  const DeviceBatch& batch() const { return batch_; }

 private:
  std::unique_ptr<Mesh> mesh_;
  TensorParallel tp_;
  ContextParallel cp_;
  RetNet model_;
  Buffer batch_buffer_;
  DeviceBatch batch_;
};

}  // namespace retain
