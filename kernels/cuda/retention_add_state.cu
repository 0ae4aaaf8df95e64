// retention_add_state: contract in kernels/ops.h. All kernels of this backend keep S = γ × the state before a chunk and
// R = γ^(len−1) × the gradient after it (retention_scan.h), to which a state before the segment, and a gradient behind
// it, give the same at token distance:
//   S_c += γ^(cC + 1) state        R_c += γ^(T − 1 − cC) state
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/sequences.cuh"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kChunks = 8;  // of a thread, all of them loaded before the first is used

template <class T>
struct Addition {
  const float* state;  // [B,H,elements]
  T* states;           // [B,N,H,elements]
  const double* log2_gamma;
  int64_t heads, elements;
  bool reverse;
};

/// What chunk c gets of the state: 0 behind a border, and where the decay leaves nothing of a float.
__device__ __forceinline__ float share_of(const Sequences& s, double log2_gamma, bool reverse, int64_t b, int64_t c) {
  if (c >= s.chunks) return 0.0F;
  const int64_t first = c * s.chunk;
  if (s.document) {
    const bool sees =
        reverse ? document_start(s, b, s.tokens - 1) < first + s.chunk : c == 0 || document_start(s, b, first - 1) < 0;
    if (!sees) return 0.0F;
  }
  return decay_over(log2_gamma, reverse ? s.tokens - 1 - first : first + 1);
}

/// Grid x: vectors of a state; y: groups of kChunks chunks; z: heads of all sequences.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) add_state_kernel(const Addition<T> a, const Sequences s) {
  const int64_t element = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (element >= a.elements) return;
  const int64_t b = blockIdx.z / a.heads, h = blockIdx.z % a.heads, first = int64_t{blockIdx.y} * kChunks;
  const double log2_gamma = a.log2_gamma[h];
  float share[kChunks];
  bool any = false;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    share[i] = share_of(s, log2_gamma, a.reverse, b, first + i);
    any = any || share[i] != 0;
  }
  if (!any) return;
  float state[N];
  load(a.state + (b * a.heads + h) * a.elements + element, state);
  const int64_t chunk_stride = a.heads * a.elements;
  T* at = a.states + (b * s.chunks + first) * chunk_stride + h * a.elements + element;
  Pack<T, N> pack[kChunks];
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    if (share[i] != 0) pack[i] = load_pack<N>(at + i * chunk_stride);
  }
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    if (share[i] == 0) continue;
    float x[N];
    unpack(pack[i], x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] += share[i] * state[j];
    store(at + i * chunk_stride, x);
  }
}

template <class T, int N>
void launch(const RetentionAddStateArgs& args, const Sequences& s, cudaStream_t stream) {
  const TensorView& states = args.states;
  const Addition<T> a{
      pointer<float>(args.state),        pointer<T>(states), pointer<double>(args.context.log2_gamma), states.shape[2],
      states.shape[3] * states.shape[4], args.reverse};
  const dim3 grid(block_count(a.elements, int64_t{kThreads} * N), block_count(s.chunks, kChunks),
                  static_cast<unsigned>(s.batch * a.heads));
  RETAIN_CHECK(grid.y <= 65535 && s.batch * a.heads <= 65535, "retention_add_state to ", states);
  add_state_kernel<T, N><<<grid, kThreads, 0, stream>>>(a, s);
}

}  // namespace

void CudaBackend::do_retention_add_state(const RetentionAddStateArgs& args) {
  Queue& queue = current();
  if (args.states.elements() == 0) return;
  const Sequences s = sequences_of(args.context, args.states.shape[0], args.tokens);
  dispatch_compute("retention_add_state", args.states.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool vectors = args.states.shape[3] * args.states.shape[4] % kVectorOf<T> == 0;
    if (vectors && vectors_aligned(args.states, args.state)) {
      launch<T, kVectorOf<T>>(args, s, queue.stream());
    } else {
      launch<T, 1>(args, s, queue.stream());
    }
  });
  LAUNCH_CHECK("retention_add_state");
}

}  // namespace retain::cuda
