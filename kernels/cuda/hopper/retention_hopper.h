// Chunkwise retention on Hopper by two kernels of its own, all heads and sequences at once: the states of the chunks
// (chunk_states.h), then every output by masked products (masked_product.h). Contracts in kernels/ops.h; the formulas
// are those of retention.cpp, whose batched products serve all other GPUs, dtypes and heads.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/ops.h"

namespace retain::cuda {

/// True if these kernels take operands of this kind. The caller has seen that data and strides are whole vectors of 16
/// bytes, as the copy engine wants them.
bool hopper_takes(const Queue& queue, DType type, const RetentionContext& context, int64_t key_dim, int64_t value_dim);

void retention_hopper(Queue& queue, const RetentionArgs& args);
/// With states.
void retention_hopper_backward(Queue& queue, const RetentionBackwardArgs& args);
void retention_hopper_state(Queue& queue, const RetentionStateArgs& args);
void retention_hopper_state_gradient(Queue& queue, const RetentionStateGradientArgs& args);

}  // namespace retain::cuda
