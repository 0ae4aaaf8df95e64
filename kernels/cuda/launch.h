// The launchers of the CUDA backend, one an operation of kernels/backend.h; argument contracts are in kernels/ops.h.
// Each queues its kernels on the queue's compute stream (or forks from it and joins it again) and returns.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/ops.h"

namespace retain::cuda {

void copy(Queue& queue, const TensorView& dst, const TensorView& src);
void fill(Queue& queue, const TensorView& x, double value);
void fill_normal(Queue& queue, const FillNormalArgs& args);
void matmul(Queue& queue, const MatmulArgs& args);
void embedding(Queue& queue, const EmbeddingArgs& args);
void embedding_backward(Queue& queue, const EmbeddingBackwardArgs& args);
void rms_norm(Queue& queue, const RmsNormArgs& args);
void rms_norm_backward(Queue& queue, const RmsNormBackwardArgs& args);
void rotate(Queue& queue, const RotateArgs& args);
void retention(Queue& queue, const RetentionArgs& args);
void retention_backward(Queue& queue, const RetentionBackwardArgs& args);
void retention_state(Queue& queue, const RetentionStateArgs& args);
void retention_state_gradient(Queue& queue, const RetentionStateGradientArgs& args);
void segment_scan(Queue& queue, const SegmentScanArgs& args);
void head_norm_gate(Queue& queue, const HeadNormGateArgs& args);
void head_norm_gate_backward(Queue& queue, const HeadNormGateBackwardArgs& args);
void ffn_activation(Queue& queue, const FfnActivationArgs& args);
void ffn_activation_backward(Queue& queue, const FfnActivationBackwardArgs& args);
void cross_entropy_statistics(Queue& queue, const CrossEntropyStatisticsArgs& args);
void cross_entropy(Queue& queue, const CrossEntropyArgs& args);
void reduce(Queue& queue, const ReduceArgs& args);
void clip_scale(Queue& queue, const ClipScaleArgs& args);
void adamw(Queue& queue, const AdamwArgs& args);

// Retention token by token in fp32: the oracle on the GPU, decoding, and shapes that the batched products do not take.
void retention_plain(Queue& queue, const RetentionArgs& args);
void retention_plain_backward(Queue& queue, const RetentionBackwardArgs& args);
void retention_plain_state(Queue& queue, const RetentionStateArgs& args);
void retention_plain_state_gradient(Queue& queue, const RetentionStateGradientArgs& args);

}  // namespace retain::cuda
