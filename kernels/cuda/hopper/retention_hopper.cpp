#include "kernels/cuda/hopper/retention_hopper.h"

#include <algorithm>
#include <array>

#include "kernels/cuda/hopper/chunk_states.h"
#include "kernels/cuda/hopper/masked_product.h"

namespace retain::cuda {

namespace {

/// Scratch for the states, or their gradients, of all chunks: [B,N,H,K,V].
TensorView scratch_states(Queue& queue, const char* operation, const Sequences& s, int64_t heads, int64_t key_dim,
                          int64_t value_dim) {
  const int64_t bytes = hopper_states_bytes(s.batch, s.tokens, s.chunk, heads, key_dim, value_dim);
  return {queue.scratch(operation, bytes), DType::kBfloat16, {s.batch, s.chunks, heads, key_dim, value_dim}};
}

const double* log2_gamma(const RetentionContext& context) {
  return static_cast<const double*>(context.log2_gamma.data);
}

}  // namespace

bool hopper_takes(const Queue& queue, DType type, const RetentionContext& context, int64_t key_dim, int64_t value_dim) {
  return queue.hopper() && type == DType::kBfloat16 && hopper_serves(context.folded_chunk, key_dim, value_dim);
}

void retention_hopper(Queue& queue, const RetentionArgs& args) {
  constexpr const char* kOperation = "retention";
  const Sequences s = sequences_of(args.context, args.q.shape[0], args.q.shape[1]);
  const int64_t heads = args.q.shape[2], key_dim = args.q.shape[3], value_dim = args.v.shape[3];
  const TensorView states = args.states ? args.states : scratch_states(queue, kOperation, s, heads, key_dim, value_dim);
  if (!args.states_given) {
    chunk_states(kOperation, *queue.hopper(),
                 {.x = args.k,
                  .y = args.v,
                  .states = states,
                  .boundary = args.state_in,
                  .result = args.state_out,
                  .log2_gamma = log2_gamma(args.context)},
                 s, queue.multiprocessors(), queue.stream());
  }
  const std::array<MaskedProduct, 1> o = {{{.x = args.q,
                                            .y = args.k,
                                            .z = args.v,
                                            .out = args.o,
                                            .states = states,
                                            .stateless_chunk = args.state_in ? -1 : 0}}};
  masked_products(kOperation, *queue.hopper(), o, false, s, queue.multiprocessors(), queue.stream());
}

void retention_hopper_backward(Queue& queue, const RetentionBackwardArgs& args) {
  constexpr const char* kOperation = "retention_backward";
  const Sequences s = sequences_of(args.context, args.q.shape[0], args.q.shape[1]);
  const int64_t heads = args.q.shape[2], key_dim = args.q.shape[3], value_dim = args.v.shape[3];
  const TensorView dstates =
      args.dstates ? args.dstates : scratch_states(queue, kOperation, s, heads, key_dim, value_dim);
  if (!args.dstates) {
    chunk_states(kOperation, *queue.hopper(),
                 {.x = args.q,
                  .y = args.dout,
                  .states = dstates,
                  .boundary = args.dstate_out,
                  .result = args.dstate_in,
                  .log2_gamma = log2_gamma(args.context),
                  .reverse = true},
                 s, queue.multiprocessors(), queue.stream());
  }
  const int64_t first = args.state_in ? -1 : 0, last = args.dstate_out ? -1 : s.chunks - 1;
  const std::array<MaskedProduct, 1> dv = {{{.x = args.k,
                                             .y = args.q,
                                             .z = args.dout,
                                             .out = args.dv,
                                             .states = dstates,
                                             .upper = true,
                                             .stateless_chunk = last}}};
  const std::array<MaskedProduct, 2> dqk = {
      {{.x = args.dout, .y = args.v, .z = args.k, .out = args.dq, .states = args.states, .stateless_chunk = first},
       {.x = args.v,
        .y = args.dout,
        .z = args.q,
        .out = args.dk,
        .states = dstates,
        .upper = true,
        .stateless_chunk = last}}};
  // Side by side and at the same pace, they find in the L2 cache what the other has read. Products of each for a chunk:
  // with the state, of scores (dv's once for each 256 of its columns), with the scores.
  const int64_t state = s.chunk * key_dim * value_dim, scores = s.chunk * (s.chunk + 64) / 2;
  const int64_t dv_cost = state + scores * (std::max<int64_t>(1, value_dim / 256) * key_dim + value_dim);
  const int64_t dqk_cost = 2 * (state + scores * (value_dim + key_dim));
  // Odd, so that each thread block meets all kinds of tiles.
  const int64_t all = queue.multiprocessors();
  const int64_t dv_blocks =
      std::clamp<int64_t>((all * dv_cost / (dv_cost + dqk_cost)) | 1, 1, std::max<int64_t>(all - 1, 1));
  queue.fork();
  masked_products(kOperation, *queue.hopper(), dqk, true, s, std::max<int64_t>(all - dv_blocks, 1),
                  queue.lane(0).stream);
  masked_products(kOperation, *queue.hopper(), dv, false, s, dv_blocks, queue.lane(1).stream);
  queue.join();
}

void retention_hopper_state(Queue& queue, const RetentionStateArgs& args) {
  chunk_states("retention_state", *queue.hopper(),
               {.x = args.k,
                .y = args.v,
                .states = args.states,
                .boundary = args.state_in,
                .result = args.state,
                .log2_gamma = log2_gamma(args.context)},
               sequences_of(args.context, args.k.shape[0], args.k.shape[1]), queue.multiprocessors(), queue.stream());
}

void retention_hopper_state_gradient(Queue& queue, const RetentionStateGradientArgs& args) {
  chunk_states("retention_state_gradient", *queue.hopper(),
               {.x = args.q,
                .y = args.dout,
                .states = args.dstates,
                .result = args.dstate,
                .log2_gamma = log2_gamma(args.context),
                .reverse = true},
               sequences_of(args.context, args.q.shape[0], args.q.shape[1]), queue.multiprocessors(), queue.stream());
}

}  // namespace retain::cuda
