// The state is in fp32 registers. One recurrence gives everything. With state S and roles query, key, value,
//   forward:  S ← γ S + key_tᵀ value_t,  out_t = query_t S          t = 0 … T−1
//   reverse:  S ← S + key_tᵀ value_t,  out_t = query_t S,  S ← γ S   t = T−1 … 0
//   o  = forward(q, k, v; S),    dq = forward(do, v, k; Sᵀ),
//   dv = reverse(k, q, do; G),   dk = reverse(v, do, q; Gᵀ).
#include "kernels/cuda/retention_plain.h"

#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kColumns = 32;  // value columns of a block: its state rows are 128 consecutive bytes

/// A [B,T,H,·] operand; a power of the decay undoes or redoes what rotate folded in.
template <class T>
struct Operand {
  T* data = nullptr;  // null: absent
  int64_t batch = 0, token = 0, head = 0;
  int fold_sign = 0;  // multiply by γ^(fold_sign · (t mod folded_chunk))
};

template <class T>
struct Recurrence {
  Operand<const T> query, key, value;
  Operand<T> out;
  const float* state_in = nullptr;  // [B,H,K,V]
  float* state_out = nullptr;
  T* states = nullptr;  // [B,N,H,K,V], as the batched path keeps it: γ × the state before each chunk, or, reverse,
                        // γ^(len−1) × the gradient after it
  const double* log2_gamma = nullptr;
  const int32_t* document = nullptr;  // [B,T]
  int64_t document_stride = 0, position_offset = 0;
  int64_t state_elements = 0, state_row = 0, state_column = 0;  // of one head; strides of the key and value roles
  int64_t tokens = 0, heads = 0, folded_chunk = 0, chunk = 0;
  int key_width = 0, value_width = 0;
};

template <class T>
__device__ __forceinline__ float fold_factor(const Operand<T>& x, double log2_gamma, int64_t t, int64_t chunk) {
  if (x.fold_sign == 0 || chunk == 0) return 1.0F;
  return static_cast<float>(exp2(log2_gamma * static_cast<double>(x.fold_sign * (t % chunk))));
}

/// Grid (value columns / 32, H, B). kSlices warps share the key rows of a column: thread (slice, lane) holds the
/// state's rows slice, slice + kSlices, …
template <class T, int kRows, int kSlices, bool kReverse>
__global__ void __launch_bounds__(kColumns* kSlices) recurrence_kernel(const Recurrence<T> a) {
  constexpr int kThreads = kColumns * kSlices;
  extern __shared__ float memory[];
  float* query = memory;               // [key_width]
  float* key = memory + a.key_width;   // [key_width]
  float* partial = key + a.key_width;  // [kSlices][kColumns]
  const int lane = threadIdx.x % kColumns, slice = threadIdx.x / kColumns;
  const int column = static_cast<int>(blockIdx.x) * kColumns + lane;
  const bool inside = column < a.value_width;
  const int64_t h = blockIdx.y, b = blockIdx.z;
  const double log2_gamma = a.log2_gamma[h], gamma = exp2(log2_gamma);
  const int64_t state_base = (b * a.heads + h) * a.state_elements + column * a.state_column;

  float state[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = slice + i * kSlices;
    state[i] = a.state_in && inside && row < a.key_width ? a.state_in[state_base + row * a.state_row] : 0.0F;
  }
  for (int64_t step = 0; step < a.tokens; ++step) {
    const int64_t t = kReverse ? a.tokens - 1 - step : step;
    const bool starts = a.document && a.document[b * a.document_stride + t] - a.position_offset >= t;
    if (a.states && (kReverse ? t + 1 == a.tokens || (t + 1) % a.chunk == 0 : t % a.chunk == 0)) {
      T* out = a.states + ((b * ((a.tokens + a.chunk - 1) / a.chunk) + t / a.chunk) * a.heads + h) * a.state_elements;
      const double scale = kReverse ? exp2(log2_gamma * static_cast<double>(t % a.chunk)) : gamma;
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int row = slice + i * kSlices;
        if (inside && row < a.key_width) {
          out[row * a.state_row + column * a.state_column] = from_float<T>(static_cast<float>(scale * state[i]));
        }
      }
    }
    if constexpr (!kReverse) {
      if (starts) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) state[i] = 0;
      }
    }
    // ---- the token's rows; the barrier before also protects the last token's partial sums
    __syncthreads();
    const float key_factor = fold_factor(a.key, log2_gamma, t, a.folded_chunk);
    const float query_factor = fold_factor(a.query, log2_gamma, t, a.folded_chunk);
    for (int i = threadIdx.x; i < a.key_width; i += kThreads) {
      key[i] = key_factor * to_float(a.key.data[b * a.key.batch + t * a.key.token + h * a.key.head + i]);
      if (a.query.data) {
        query[i] = query_factor * to_float(a.query.data[b * a.query.batch + t * a.query.token + h * a.query.head + i]);
      }
    }
    const float value =
        inside ? fold_factor(a.value, log2_gamma, t, a.folded_chunk) *
                     to_float(a.value.data[b * a.value.batch + t * a.value.token + h * a.value.head + column])
               : 0.0F;
    __syncthreads();
    // ---- S and this slice's share of query · S; the decay in fp64, whose rounding would build up over long memories
    const double decay = kReverse ? 1.0 : gamma;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = slice + i * kSlices;
      if (row >= a.key_width) continue;
      state[i] = static_cast<float>(decay * state[i] + static_cast<double>(key[row]) * value);
      if (a.query.data) sum += query[row] * state[i];
    }
    if (a.query.data) {
      partial[slice * kColumns + lane] = sum;
      __syncthreads();
      if (slice == 0 && inside) {
        sum = 0;
#pragma unroll
        for (int s = 0; s < kSlices; ++s) sum += partial[s * kColumns + lane];
        sum *= fold_factor(a.out, log2_gamma, t, a.folded_chunk);
        a.out.data[b * a.out.batch + t * a.out.token + h * a.out.head + column] = from_float<T>(sum);
      }
    }
    if constexpr (kReverse) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) state[i] = starts ? 0.0F : static_cast<float>(gamma * state[i]);
    }
  }
  if (!a.state_out || !inside) return;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = slice + i * kSlices;
    if (row < a.key_width) a.state_out[state_base + row * a.state_row] = state[i];
  }
}

template <class Pointer, class T = std::remove_const_t<Pointer>>
Operand<Pointer> operand(const TensorView& x, int fold_sign = 0) {
  return {pointer<T>(x), x.stride[0], x.stride[1], x.stride[2], fold_sign};
}

/// What all recurrences of one operation share; [K,V] is the state, transposed when the roles are.
template <class T>
Recurrence<T> recurrence(const RetentionContext& context, int64_t tokens, int64_t heads, int64_t k, int64_t v,
                         bool transposed) {
  Recurrence<T> a;
  a.log2_gamma = pointer<double>(context.log2_gamma);
  a.document = pointer<int32_t>(context.document_start);
  a.document_stride = context.document_start.stride[0];
  a.position_offset = context.position_offset;
  a.tokens = tokens;
  a.heads = heads;
  a.folded_chunk = context.folded_chunk;
  a.chunk = context.chunk;
  a.state_elements = k * v;
  a.state_row = transposed ? 1 : v;
  a.state_column = transposed ? v : 1;
  a.key_width = static_cast<int>(transposed ? v : k);
  a.value_width = static_cast<int>(transposed ? k : v);
  return a;
}

template <int kRows, int kSlices, class T, bool kReverse>
void launch_with(const Recurrence<T>& a, int64_t batch, cudaStream_t stream) {
  const dim3 grid(block_count(a.value_width, kColumns), static_cast<unsigned>(a.heads), static_cast<unsigned>(batch));
  const size_t bytes = (2 * static_cast<size_t>(a.key_width) + kColumns * kSlices) * sizeof(float);
  recurrence_kernel<T, kRows, kSlices, kReverse><<<grid, kColumns * kSlices, bytes, stream>>>(a);
}

template <class T, bool kReverse>
void launch(const char* operation, const Recurrence<T>& a, int64_t batch, cudaStream_t stream) {
  RETAIN_CHECK(batch <= 65535 && a.heads <= 65535, operation, ": batch ", batch, ", heads ", a.heads);
  if (a.key_width <= 64) {
    launch_with<8, 8, T, kReverse>(a, batch, stream);
  } else if (a.key_width <= 256) {
    launch_with<32, 8, T, kReverse>(a, batch, stream);
  } else if (a.key_width <= 512) {
    launch_with<64, 8, T, kReverse>(a, batch, stream);
  } else if (a.key_width <= 2048) {  // a block of 1024 threads has no registers for it all: some of the state spills
    launch_with<64, 32, T, kReverse>(a, batch, stream);
  } else {
    throw Error(ErrorKind::kDevice,
                concat(operation, ": heads of width ", a.key_width, " are beyond the GPU's plain kernel (2048)"));
  }
  LAUNCH_CHECK(operation);
}

}  // namespace

void retention_plain(Queue& queue, const RetentionArgs& args) {
  const int64_t batch = args.q.shape[0], tokens = args.q.shape[1], heads = args.q.shape[2];
  const int64_t k = args.q.shape[3], v = args.v.shape[3];
  dispatch_compute("retention", args.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    Recurrence<T> a = recurrence<T>(args.context, tokens, heads, k, v, false);
    a.query = operand<const T>(args.q, -1);
    a.key = operand<const T>(args.k, 1);
    a.value = operand<const T>(args.v);
    a.out = operand<T>(args.o);
    a.state_in = pointer<float>(args.state_in);
    a.state_out = pointer<float>(args.state_out);
    if (!args.states_given) a.states = pointer<T>(args.states);
    launch<T, false>("retention", a, batch, queue.stream());
  });
}

void retention_plain_backward(Queue& queue, const RetentionBackwardArgs& args) {
  const int64_t batch = args.q.shape[0], tokens = args.q.shape[1], heads = args.q.shape[2];
  const int64_t k = args.q.shape[3], v = args.v.shape[3];
  dispatch_compute("retention_backward", args.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    Recurrence<T> dq = recurrence<T>(args.context, tokens, heads, k, v, true);
    dq.query = operand<const T>(args.dout);
    dq.key = operand<const T>(args.v);
    dq.value = operand<const T>(args.k, 1);
    dq.out = operand<T>(args.dq, -1);
    dq.state_in = pointer<float>(args.state_in);
    launch<T, false>("retention_backward: dq", dq, batch, queue.stream());

    Recurrence<T> dk = recurrence<T>(args.context, tokens, heads, k, v, true);
    dk.query = operand<const T>(args.v);
    dk.key = operand<const T>(args.dout);
    dk.value = operand<const T>(args.q, -1);
    dk.out = operand<T>(args.dk, 1);
    dk.state_in = pointer<float>(args.dstate_out);
    launch<T, true>("retention_backward: dk", dk, batch, queue.stream());

    // last: dstate_in may be the memory of dstate_out
    Recurrence<T> dv = recurrence<T>(args.context, tokens, heads, k, v, false);
    dv.query = operand<const T>(args.k, 1);
    dv.key = operand<const T>(args.q, -1);
    dv.value = operand<const T>(args.dout);
    dv.out = operand<T>(args.dv);
    dv.state_in = pointer<float>(args.dstate_out);
    dv.state_out = pointer<float>(args.dstate_in);
    launch<T, true>("retention_backward: dv", dv, batch, queue.stream());
  });
}

void retention_plain_state(Queue& queue, const RetentionStateArgs& args) {
  dispatch_compute("retention_state", args.k.dtype, [&](auto zero) {
    using T = decltype(zero);
    Recurrence<T> a =
        recurrence<T>(args.context, args.k.shape[1], args.k.shape[2], args.k.shape[3], args.v.shape[3], false);
    a.key = operand<const T>(args.k, 1);
    a.value = operand<const T>(args.v);
    a.state_in = pointer<float>(args.state_in);
    a.state_out = pointer<float>(args.state);
    a.states = pointer<T>(args.states);
    launch<T, false>("retention_state", a, args.k.shape[0], queue.stream());
  });
}

void retention_plain_state_gradient(Queue& queue, const RetentionStateGradientArgs& args) {
  dispatch_compute("retention_state_gradient", args.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    Recurrence<T> a =
        recurrence<T>(args.context, args.q.shape[1], args.q.shape[2], args.q.shape[3], args.dout.shape[3], false);
    a.key = operand<const T>(args.q, -1);
    a.value = operand<const T>(args.dout);
    a.state_out = pointer<float>(args.dstate);
    a.states = pointer<T>(args.dstates);
    launch<T, true>("retention_state_gradient", a, args.q.shape[0], queue.stream());
  });
}

}  // namespace retain::cuda
