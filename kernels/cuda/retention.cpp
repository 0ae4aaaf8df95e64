// Which kernels serve a call: the plain ones, Hopper's own (retention_hopper.h), or those of this file:
// chunkwise retention by batched products, one head of some sequences at a time, spread over the queue's lanes;
// contracts in kernels/ops.h. With q̃ = q γ^i, k̂ = k γ^−j folded in by rotate (i, j inside the chunk) and S = γ × the
// state:
//   A = tril(Q̃ K̂ᵀ),  O = A V + Q̃ S_c,  S_(c+1) = γ^C (S_c + K̂ᵀ V)
//   dA = tril(dO Vᵀ),  R_c = γ^C (Q̃_(c+1)ᵀ dO_(c+1) + R_(c+1))
//   dV = Aᵀ dO + K̂ R,  dK̂ = dAᵀ Q̃ + V Rᵀ,  dQ̃ = dA K̂ + dO Sᵀ.
// The products with a state come first: documents that start inside a chunk zero rows of their results, and the
// products with the scores are then added.
#include <algorithm>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/hopper/retention_hopper.h"
#include "kernels/cuda/retention_plain.h"
#include "kernels/cuda/retention_scan.h"

namespace retain::cuda {

namespace {

/// One head of a [B,T,H,·] tensor, of the scores or of the states, as the chunks' row-major matrices.
struct Chunks {
  char* data = nullptr;
  int64_t batch = 0, chunk = 0, leading = 0;  // strides in elements
  DType type = DType::kFloat32;

  char* at(int64_t b, int64_t c) const { return data + (b * batch + c * chunk) * dtype_bytes(type); }
};

/// What every operation on one head of some sequences, a part, needs.
struct Head {
  const char* operation;
  Queue& queue;
  Lane lane;
  int64_t first_sequence;
  Sequences sequences;  // this part's
  DType type;
  int64_t key_dim, value_dim;
  const double* log2_gamma;
  bool documents;

  /// c = [c +] op(a) op(b) for every chunk; a row count of 0 stands for the chunk's length.
  void product(const Chunks& a, bool transpose_a, const Chunks& b, bool transpose_b, const Chunks& c, int64_t m,
               int64_t n, int64_t k, bool add) const {
    const int64_t full = sequences.tokens / sequences.chunk, rest = sequences.tokens % sequences.chunk;
    Product p;
    p.type = p.c_type = type;
    p.transpose_a = transpose_a;
    p.transpose_b = transpose_b;
    p.lda = a.leading;
    p.ldb = b.leading;
    p.ldc = c.leading;
    p.beta = add ? 1 : 0;
    const auto run = [&](int64_t sequence, int64_t chunk, int64_t rows, int64_t batch, bool over_chunks) {
      p.m = m ? m : rows;
      p.n = n ? n : rows;
      p.k = k ? k : rows;
      p.a = a.at(sequence, chunk);
      p.b = b.at(sequence, chunk);
      p.c = c.at(sequence, chunk);
      p.batch = batch;
      p.stride_a = over_chunks ? a.chunk : a.batch;
      p.stride_b = over_chunks ? b.chunk : b.batch;
      p.stride_c = over_chunks ? c.chunk : c.batch;
      queue.matmul().run(operation, p, lane.stream, lane.matmul_workspace);
    };
    const auto merges = [&](const Chunks& x) { return x.batch == x.chunk * full; };
    if (full > 0) {
      if (rest == 0 && (sequences.batch == 1 || (merges(a) && merges(b) && merges(c)))) {
        run(0, 0, sequences.chunk, sequences.batch * full, true);
      } else {
        for (int64_t s = 0; s < sequences.batch; ++s) run(s, 0, sequences.chunk, full, true);
      }
    }
    if (rest > 0) run(0, full, rest, sequences.batch, false);
  }

  /// The tensor's head as chunk matrices.
  Chunks chunks(const TensorView& x, int64_t head) const {
    const int64_t offset = first_sequence * x.stride[0] + head * x.stride[2];
    return {static_cast<char*>(x.data) + offset * dtype_bytes(type), x.stride[0], x.stride[1] * sequences.chunk,
            x.stride[1], type};
  }
  /// The chunks of the kept states [B,N,H,K,V] of one head, or scratch.
  Chunks states(const TensorView& kept, int64_t head, char* memory) const {
    if (!kept) return scratch(memory, key_dim, value_dim);
    const int64_t offset = first_sequence * kept.stride[0] + head * kept.stride[2];
    return {static_cast<char*>(kept.data) + offset * dtype_bytes(type), kept.stride[0], kept.stride[1], value_dim,
            type};
  }
  /// One head of [B,H,K,V], or null.
  float* boundary(const TensorView& state, int64_t head) const {
    if (!state) return nullptr;
    return static_cast<float*>(state.data) + first_sequence * state.stride[0] + head * state.stride[1];
  }
  /// Scratch with `rows` x `columns` elements a chunk.
  Chunks scratch(char* data, int64_t rows, int64_t columns) const {
    return {data, sequences.chunks * rows * columns, rows * columns, columns, type};
  }
  /// x, or a copy without the rows that the mask takes out of products over the chunk's tokens.
  Chunks masked(const Chunks& x, char* copy, RowMask mask) const {
    if (!documents) return x;
    copy_masked_rows(operation, type, copy, x.data, x.batch, x.leading, key_dim, mask, sequences, lane.stream);
    return {copy, sequences.tokens * key_dim, sequences.chunk * key_dim, key_dim, type};
  }
  void zero(const Chunks& x, int64_t width, RowMask mask) const {
    if (documents) zero_rows(operation, type, x.data, x.batch, x.leading, width, mask, sequences, lane.stream);
  }

  StateScan state_scan(const Chunks& states) const {
    StateScan scan;
    scan.states = states.data;
    scan.batch_stride = states.batch;
    scan.chunk_stride = states.chunk;
    scan.elements = key_dim * value_dim;
    scan.log2_gamma = log2_gamma;
    return scan;
  }
  /// Puts the state before each chunk into `states`.
  void forward_states(const Chunks& k, const Chunks& v, const Chunks& states, char* copy, const float* state_in,
                      float* state_out, int64_t boundary_stride, bool store) const {
    product(masked(k, copy, RowMask::kLeavesState), true, v, false, states, key_dim, value_dim, 0, false);
    StateScan scan = state_scan(states);
    scan.boundary = state_in;
    scan.result = state_out;
    scan.boundary_stride = boundary_stride;
    scan.store = store;
    scan_states(operation, type, scan, sequences, lane.stream);
  }
  /// Puts the gradient of each chunk's product K̂ᵀV into `dstates`.
  void backward_states(const Chunks& q, const Chunks& dout, const Chunks& dstates, char* copy, const float* dstate_out,
                       float* dstate_in, int64_t boundary_stride, bool store) const {
    product(masked(q, copy, RowMask::kSeesState), true, dout, false, dstates, key_dim, value_dim, 0, false);
    StateScan scan = state_scan(dstates);
    scan.boundary = dstate_out;
    scan.result = dstate_in;
    scan.boundary_stride = boundary_stride;
    scan.store = store;
    scan_states_reverse(operation, type, scan, sequences, lane.stream);
  }
};

struct Shape {
  int64_t batch, tokens, heads, key_dim, value_dim;
};

/// Calls body(head index, Head, the lane's scratch) for every head of every part of the batch, the lanes taking turns.
template <class Body>
void for_each_head(const char* operation, Queue& queue, const RetentionContext& context, const Shape& shape, DType type,
                   Body&& body) {
  const Sequences all = sequences_of(context, shape.batch, shape.tokens);
  const RetentionScratch part(shape.batch, shape.tokens, all.chunk, shape.key_dim, shape.value_dim, dtype_bytes(type));
  auto* memory = static_cast<char*>(queue.scratch(operation, kLanes * part.bytes));
  const int64_t together =
      part_sequences(shape.batch, all.chunks, part_chunks(all.chunk, shape.key_dim, shape.value_dim));
  int lane = 0;
  queue.fork();
  for (int64_t first = 0; first < shape.batch; first += together) {
    Sequences sequences = all;
    sequences.batch = std::min(together, shape.batch - first);
    if (all.document) sequences.document += first * all.document_stride;
    for (int64_t h = 0; h < shape.heads; ++h) {
      const Head head{operation,
                      queue,
                      queue.lane(lane),
                      first,
                      sequences,
                      type,
                      shape.key_dim,
                      shape.value_dim,
                      static_cast<const double*>(context.log2_gamma.data) + h,
                      all.document != nullptr};
      body(h, head, part, memory + lane * part.bytes);
      lane = (lane + 1) % kLanes;
    }
  }
  queue.join();
}

bool takes_vectors(const TensorView& x) {
  if (!x) return true;
  if (reinterpret_cast<uintptr_t>(x.data) % 16 != 0) return false;
  for (int d = 0; d + 1 < x.rank; ++d) {
    if (x.shape[d] > 1 && x.stride[d] % 8 != 0) return false;
  }
  return true;
}

/// True if the batched products serve this call: folded operands, and everything a whole number of vectors of eight.
template <class... Views>
bool batched(const RetentionContext& context, int64_t key_dim, int64_t value_dim, const Views&... views) {
  return context.folded_chunk > 0 && context.folded_chunk % 8 == 0 && context.form != RetentionForm::kRecurrent &&
         key_dim % 8 == 0 && value_dim % 8 == 0 && (takes_vectors(views) && ...);
}

}  // namespace

void CudaBackend::do_retention(const RetentionArgs& args) {
  Queue& queue = current();
  const Shape shape{args.q.shape[0], args.q.shape[1], args.q.shape[2], args.q.shape[3], args.v.shape[3]};
  if (!batched(args.context, shape.key_dim, shape.value_dim, args.q, args.k, args.v, args.o, args.states, args.state_in,
               args.state_out)) {
    return retention_plain(queue, args);
  }
  if (hopper_takes(queue, args.q.dtype, args.context, shape.key_dim, shape.value_dim)) {
    return retention_hopper(queue, args);
  }
  const int64_t boundary = shape.heads * shape.key_dim * shape.value_dim;
  for_each_head("retention", queue, args.context, shape, args.q.dtype,
                [&](int64_t h, const Head& head, const RetentionScratch& part, char* scratch) {
                  const int64_t c = head.sequences.chunk, k = head.key_dim, v = head.value_dim;
                  const Chunks queries = head.chunks(args.q, h), keys = head.chunks(args.k, h);
                  const Chunks values = head.chunks(args.v, h), out = head.chunks(args.o, h);
                  const Chunks scores = head.scratch(scratch + part.scores, c, c);
                  const Chunks states = head.states(args.states, h, scratch + part.states);
                  if (!args.states_given) {
                    head.forward_states(keys, values, states, scratch + part.masked, head.boundary(args.state_in, h),
                                        head.boundary(args.state_out, h), boundary, true);
                  }
                  head.product(queries, false, keys, true, scores, 0, 0, k, false);
                  mask_scores(head.operation, head.type, scores.data, 1, head.sequences, head.lane.stream);
                  head.product(queries, false, states, false, out, 0, v, k, false);
                  head.zero(out, v, RowMask::kSeesState);
                  head.product(scores, false, values, false, out, 0, v, 0, true);
                });
}

void CudaBackend::do_retention_backward(const RetentionBackwardArgs& args) {
  Queue& queue = current();
  const Shape shape{args.q.shape[0], args.q.shape[1], args.q.shape[2], args.q.shape[3], args.v.shape[3]};
  RetentionContext context = args.context;
  context.form = RetentionForm::kChunkwise;
  if (!batched(context, shape.key_dim, shape.value_dim, args.q, args.k, args.v, args.dout, args.dq, args.dk, args.dv,
               args.states, args.state_in, args.dstate_out, args.dstate_in, args.dstates)) {
    return retention_plain_backward(queue, args);
  }
  if (args.states && hopper_takes(queue, args.q.dtype, args.context, shape.key_dim, shape.value_dim)) {
    return retention_hopper_backward(queue, args);
  }
  const int64_t boundary = shape.heads * shape.key_dim * shape.value_dim;
  for_each_head("retention_backward", queue, context, shape, args.q.dtype,
                [&](int64_t h, const Head& head, const RetentionScratch& part, char* scratch) {
                  const int64_t c = head.sequences.chunk, k = head.key_dim, v = head.value_dim;
                  const Chunks queries = head.chunks(args.q, h), keys = head.chunks(args.k, h);
                  const Chunks values = head.chunks(args.v, h), dout = head.chunks(args.dout, h);
                  const Chunks dq = head.chunks(args.dq, h), dk = head.chunks(args.dk, h);
                  const Chunks dv = head.chunks(args.dv, h);
                  const Chunks scores = head.scratch(scratch + part.scores, c, c);
                  const Chunks dscores = head.scratch(scores.at(head.sequences.batch, 0), c, c);
                  const Chunks states = head.states(args.states, h, scratch + part.states);
                  const Chunks dstates = head.states(args.dstates, h, scratch + part.dstates);
                  if (!args.states) {
                    head.forward_states(keys, values, states, scratch + part.masked, head.boundary(args.state_in, h),
                                        nullptr, boundary, true);
                  }
                  if (!args.dstates) {
                    head.backward_states(queries, dout, dstates, scratch + part.masked,
                                         head.boundary(args.dstate_out, h), head.boundary(args.dstate_in, h), boundary,
                                         true);
                  }
                  head.product(queries, false, keys, true, scores, 0, 0, k, false);
                  head.product(dout, false, values, true, dscores, 0, 0, v, false);
                  mask_scores(head.operation, head.type, scores.data, 2, head.sequences, head.lane.stream);

                  head.product(keys, false, dstates, false, dv, 0, v, k, false);
                  head.zero(dv, v, RowMask::kLeavesState);
                  head.product(scores, true, dout, false, dv, 0, v, 0, true);

                  head.product(values, false, dstates, true, dk, 0, k, v, false);
                  head.zero(dk, k, RowMask::kLeavesState);
                  head.product(dscores, true, queries, false, dk, 0, k, 0, true);

                  head.product(dout, false, states, true, dq, 0, k, v, false);
                  head.zero(dq, k, RowMask::kSeesState);
                  head.product(dscores, false, keys, false, dq, 0, k, 0, true);
                });
}

void CudaBackend::do_retention_state(const RetentionStateArgs& args) {
  Queue& queue = current();
  const Shape shape{args.k.shape[0], args.k.shape[1], args.k.shape[2], args.k.shape[3], args.v.shape[3]};
  if (!batched(args.context, shape.key_dim, shape.value_dim, args.k, args.v, args.state_in, args.state, args.states)) {
    return retention_plain_state(queue, args);
  }
  if (hopper_takes(queue, args.k.dtype, args.context, shape.key_dim, shape.value_dim)) {
    return retention_hopper_state(queue, args);
  }
  const int64_t boundary = shape.heads * shape.key_dim * shape.value_dim;
  for_each_head("retention_state", queue, args.context, shape, args.k.dtype,
                [&](int64_t h, const Head& head, const RetentionScratch& part, char* scratch) {
                  const Chunks states = head.states(args.states, h, scratch + part.states);
                  head.forward_states(head.chunks(args.k, h), head.chunks(args.v, h), states, scratch + part.masked,
                                      head.boundary(args.state_in, h), head.boundary(args.state, h), boundary,
                                      static_cast<bool>(args.states));
                });
}

void CudaBackend::do_retention_state_gradient(const RetentionStateGradientArgs& args) {
  Queue& queue = current();
  const Shape shape{args.q.shape[0], args.q.shape[1], args.q.shape[2], args.q.shape[3], args.dout.shape[3]};
  if (!batched(args.context, shape.key_dim, shape.value_dim, args.q, args.dout, args.dstate, args.dstates)) {
    return retention_plain_state_gradient(queue, args);
  }
  if (hopper_takes(queue, args.q.dtype, args.context, shape.key_dim, shape.value_dim)) {
    return retention_hopper_state_gradient(queue, args);
  }
  const int64_t boundary = shape.heads * shape.key_dim * shape.value_dim;
  for_each_head("retention_state_gradient", queue, args.context, shape, args.q.dtype,
                [&](int64_t h, const Head& head, const RetentionScratch& part, char* scratch) {
                  const Chunks dstates = head.states(args.dstates, h, scratch + part.dstates);
                  head.backward_states(head.chunks(args.q, h), head.chunks(args.dout, h), dstates,
                                       scratch + part.masked, nullptr, head.boundary(args.dstate, h), boundary,
                                       static_cast<bool>(args.dstates));
                });
}

}  // namespace retain::cuda
