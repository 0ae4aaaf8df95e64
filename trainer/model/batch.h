// One micro-batch in the backend's memory.
#pragma once

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "trainer/data/host_batch.h"

namespace retain {

/// Sizes of a micro-batch on this rank.
struct BatchShape {
  int64_t sequences = 1;  ///< B
  int64_t tokens = 1;     ///< T on this rank
  int64_t segments = 1;   ///< P, ranks the sequence is cut over
  int64_t rows() const { return sequences * tokens; }
};

/// Views of a micro-batch: what the loader gives (trainer/data/loader.h), on the device.
struct DeviceBatch {
  BatchShape shape;
  int64_t position_offset = 0;  ///< position of the segment's first token in the sequence
  TensorView tokens, targets;   ///< int32 [B*T]; target < 0: ignored
  TensorView document_start;    ///< int32 [B,T], or absent: no document starts inside a sequence
  TensorView token_order;       ///< int32 [B*T]
  TensorView carry;             ///< float32 [P,B]
};

/// A batch's memory, taken from an arena (or counted by an empty one).
DeviceBatch take_batch(Arena& arena, const BatchShape& shape);
int64_t batch_bytes(const BatchShape& shape);

/// Copies a batch of the loader to the device. Batches without a document start inside get no document_start, which
/// lets the backend take its shorter way.
DeviceBatch upload_batch(Backend& backend, const HostBatch& host, const DeviceBatch& memory);

}  // namespace retain
