// A model on the ranks of a mesh, with the memory of its batch: what evaluates without a trainer.
#pragma once

#include "parallel/mesh.h"
#include "trainer/model/retnet.h"

namespace retain {

class MeshModel {
 public:
  /// `parameters` are those of this rank of tp; of a batch of this shape, segments are computed one after the other.
  /// `chunk` as in train.chunk, 0: auto. What is given outlives it.
  MeshModel(Backend& backend, Mesh& mesh, const ParameterStore& parameters, const ModelConfig& model, DType compute,
            const BatchShape& shape, int64_t chunk, Residency residency);

  Backend& backend() { return backend_; }
  Mesh& mesh() { return mesh_; }
  RetNet& model() { return model_; }
  /// Memory of a batch (see upload_batch).
  const DeviceBatch& batch() const { return batch_; }

 private:
  Backend& backend_;
  Mesh& mesh_;
  TensorParallel tp_;
  ContextParallel cp_;
  RetNet model_;
  Buffer batch_buffer_;
  DeviceBatch batch_;
};

}  // namespace retain
