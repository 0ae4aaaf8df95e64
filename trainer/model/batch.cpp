#include "trainer/model/batch.h"

#include <algorithm>

namespace retain {

DeviceBatch take_batch(Arena& arena, const BatchShape& shape) {
  DeviceBatch batch;
  batch.shape = shape;
  const int64_t rows = shape.segment_count * shape.rows();
  batch.tokens = arena.take(DType::kInt32, {rows});
  batch.targets = arena.take(DType::kInt32, {rows});
  batch.document_start = arena.take(DType::kInt32, {shape.segment_count * shape.sequences, shape.tokens});
  batch.token_order = arena.take(DType::kInt32, {rows});
  batch.carry = arena.take(DType::kFloat32, {shape.segment_count * shape.parts, shape.sequences});
  return batch;
}

DeviceBatch DeviceBatch::at_segment(int64_t s) const {
  RETAIN_CHECK(segment == 0 && s >= 0 && s < shape.segment_count, "segment ", s, " of ", shape.segment_count,
               " from segment ", segment);
  const auto part = [&](const TensorView& x) {
    const int64_t size = x ? x.shape[0] / shape.segment_count : 0;
    return x ? x.slice(0, s * size, size) : x;
  };
  DeviceBatch one = *this;
  one.segment = s;
  one.position_offset += s * shape.tokens * shape.parts;
  for (TensorView* view : {&one.tokens, &one.targets, &one.document_start, &one.token_order, &one.carry}) {
    *view = part(*view);
  }
  return one;
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
