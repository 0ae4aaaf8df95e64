#include "trainer/model/batch.h"

#include <algorithm>

namespace retain {

DeviceBatch take_batch(Arena& arena, const BatchShape& shape) {
  DeviceBatch batch;
  batch.shape = shape;
  batch.tokens = arena.take(DType::kInt32, {shape.rows()});
  batch.targets = arena.take(DType::kInt32, {shape.rows()});
  batch.document_start = arena.take(DType::kInt32, {shape.sequences, shape.tokens});
  batch.token_order = arena.take(DType::kInt32, {shape.rows()});
  batch.carry = arena.take(DType::kFloat32, {shape.segments, shape.sequences});
  return batch;
}

int64_t batch_bytes(const BatchShape& shape) {
  Arena arena;
  take_batch(arena, shape);
  return arena.used_bytes();
}

DeviceBatch upload_batch(Backend& backend, const HostBatch& host, const DeviceBatch& memory) {
  DeviceBatch batch = memory;
  batch.position_offset = host.position_offset;
  backend.upload(batch.tokens, host.token_ids.data());
  backend.upload(batch.targets, host.targets.data());
  backend.upload(batch.token_order, host.token_order.data());
  backend.upload(batch.carry, host.carry.data());
  const bool whole =
      std::all_of(host.document_start.begin(), host.document_start.end(), [](int32_t s) { return s == 0; });
  if (whole) {
    batch.document_start = {};
  } else {
    backend.upload(batch.document_start, host.document_start.data());
  }
  return batch;
}

}  // namespace retain
