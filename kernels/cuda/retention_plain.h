// Retention token by token in fp32: the oracle on the GPU, decoding, and shapes that the batched products do not take.
// Contracts in kernels/ops.h.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/ops.h"

namespace retain::cuda {

void retention_plain(Queue& queue, const RetentionArgs& args);
void retention_plain_backward(Queue& queue, const RetentionBackwardArgs& args);
void retention_plain_state(Queue& queue, const RetentionStateArgs& args);
void retention_plain_state_gradient(Queue& queue, const RetentionStateGradientArgs& args);

}  // namespace retain::cuda
