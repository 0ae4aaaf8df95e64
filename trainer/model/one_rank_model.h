// A model alone on one rank, with the memory of its batch: what evaluates, decodes and compares without a trainer.
#pragma once

#include <memory>

#include "trainer/model/mesh_model.h"

namespace retain {

class OneRankModel {
 public:
  /// `parameters` hold the whole model (one tp rank); `chunk` as in train.chunk, 0: auto. The backend and the
  /// parameters outlive it.
  OneRankModel(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute,
               const BatchShape& shape, int64_t chunk, Residency residency)
      : mesh_(make_single_mesh()), alone_(backend, *mesh_, parameters, model, compute, shape, chunk, residency) {}

  Mesh& mesh() { return *mesh_; }
  RetNet& model() { return alone_.model(); }
  /// Memory of a batch (see upload_batch).
  const DeviceBatch& batch() const { return alone_.batch(); }

 private:
  std::unique_ptr<Mesh> mesh_;
  MeshModel alone_;
};

}  // namespace retain
