#include "trainer/model/batch.h"

#include <algorithm>
#include <cstring>

namespace retain {

namespace {

/// The batch in this memory, of which put(view, values) is called for every part that the model reads.
template <class Put>
DeviceBatch place(const HostBatch& host, const DeviceBatch& memory, const Put& put) {
  DeviceBatch batch = memory;
  batch.position_offset = host.position_offset;
  put(batch.tokens, host.token_ids.data());
  put(batch.targets, host.targets.data());
  put(batch.token_order, host.token_order.data());
  put(batch.carry, host.carry.data());
  const bool whole =
      std::all_of(host.document_start.begin(), host.document_start.end(), [](int32_t s) { return s == 0; });
  if (whole) {
    batch.document_start = {};
  } else {
    put(batch.document_start, host.document_start.data());
  }
  return batch;
}

}  // namespace

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
  return place(host, memory, [&](const TensorView& to, const void* values) { backend.upload(to, values); });
}

StepBatches take_step_batches(Arena& arena, const BatchShape& shape, int64_t micro_batches) {
  StepBatches step;
  step.block = arena.take(DType::kUint8, {micro_batches * batch_bytes(shape)});
  Arena parts(step.block);
  for (int64_t micro = 0; micro < micro_batches; ++micro) step.batches.push_back(take_batch(parts, shape));
  return step;
}

DeviceBatch pack_batch(const HostBatch& host, const DeviceBatch& on_host, const DeviceBatch& on_device) {
  const DeviceBatch packed = place(host, on_host, [](const TensorView& to, const void* values) {
    std::memcpy(to.data, values, static_cast<size_t>(to.bytes()));
  });
  DeviceBatch batch = on_device;
  batch.position_offset = packed.position_offset;
  if (!packed.document_start) batch.document_start = {};
  return batch;
}

}  // namespace retain
