// One micro-batch in the backend's memory, and all those of a step that travel there together.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "trainer/data/host_batch.h"

namespace retain {

/// Sizes of a micro-batch on this rank. The model works on one segment of its sequences at a time; as a rule there is
/// one.
struct BatchShape {
  int64_t sequences = 1;      ///< B
  int64_t tokens = 1;         ///< T of a segment on this rank
  int64_t parts = 1;          ///< P, ranks that a segment is cut over
  int64_t segment_count = 1;  ///< S
  int64_t rows() const { return sequences * tokens; }
  int64_t segment_tokens() const { return tokens * parts; }  ///< over all ranks
};

/// Views of a micro-batch: what the loader gives (trainer/data/loader.h), on the device. S segments, or one of them.
struct DeviceBatch {
  BatchShape shape;
  int64_t segment = 0;          ///< the first
  int64_t position_offset = 0;  ///< position of the first token in the sequence
  TensorView tokens, targets;   ///< int32 [S*B*T]; target < 0: ignored
  TensorView document_start;    ///< int32 [S*B,T], or absent: no document starts inside a sequence
  TensorView token_order;       ///< int32 [S*B*T]
  TensorView carry;             ///< float32 [S*P,B]

  /// One segment of a whole micro-batch.
  DeviceBatch at_segment(int64_t s) const;
};

/// A batch's memory, taken from an arena (or counted by an empty one).
DeviceBatch take_batch(Arena& arena, const BatchShape& shape);
int64_t batch_bytes(const BatchShape& shape);

/// Copies a batch of the loader to the device. Batches without a document start inside get no document_start, which
/// lets the backend take its shorter way.
DeviceBatch upload_batch(Backend& backend, const HostBatch& host, const DeviceBatch& memory);

/// The micro-batches of a step in one block, which travels in one copy.
struct StepBatches {
  TensorView block;                  ///< uint8: all of them
  std::vector<DeviceBatch> batches;  ///< one a micro-batch
};
/// Their memory, taken from an arena; the layout is the same on the host and on the device.
StepBatches take_step_batches(Arena& arena, const BatchShape& shape, int64_t micro_batches);

/// Writes a batch of the loader to host memory, so that a copy of it is what upload_batch() makes of `on_device`.
DeviceBatch pack_batch(const HostBatch& host, const DeviceBatch& on_host, const DeviceBatch& on_device);

}  // namespace retain
