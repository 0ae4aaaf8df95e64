// retention_step: contract in kernels/ops.h. Bound by the traffic of the states: a thread has 16 loads of 16 bytes
// under way before it needs the first. The blocks that share a head are a cluster, whose sums of squares meet in shared
// memory for the head's norm.
#include <cooperative_groups.h>

#include <algorithm>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/following.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kAcross = 16;                // threads along a row of the state: 256 bytes
constexpr int kDown = kThreads / kAcross;  // rows at a time
constexpr int kAhead = 16;                 // rows of a thread that are loaded before the first is used
constexpr int kRows = kDown * kAhead;      // of the state, loaded at once
constexpr unsigned kMostCluster = 8;       // what every device of compute capability 9.0 schedules
constexpr size_t kSharedBytes = 48 << 10;  // that a block may have unasked

struct Heads {
  int64_t row, head;
};

template <class T>
struct Step {
  const T* q;
  const T* k;
  const T* v;
  const T* g;
  T* y;
  const float2* table;
  const double* log2_gamma;
  const float* weight;  // may be null
  float* states;
  const int32_t* slots;
  const int32_t* positions;
  Heads q_strides, k_strides, v_strides, g_strides, y_strides;
  int64_t slot_stride, position_stride;
  int heads, key_dim, value_dim;
  bool rowsum;
  float key_scale;
  double eps;
};

/// As in head_norm_gate.cu, of a whole document.
template <class T>
__device__ float epsilon(const Step<T>& a, int64_t i, int h) {
  if (!a.rowsum) return static_cast<float>(a.eps);
  const double seen = a.positions[i * a.position_stride] + 1.0;
  const double log_gamma = a.log2_gamma[h] * 0.693147180559945309417232121458;
  if (log_gamma == 0) return static_cast<float>(a.eps * seen);
  return static_cast<float>(a.eps * (expm1(seen * log_gamma) / expm1(log_gamma)));
}

/// The sum over the blocks of the cluster, in their order. All threads of all its blocks call.
__device__ __forceinline__ float cluster_sum(float mine) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __shared__ float shared;
  const auto cluster = cooperative_groups::this_cluster();
  if (threadIdx.x == 0) shared = mine;
  cluster.sync();
  float sum = 0;
  for (unsigned rank = 0; rank < cluster.num_blocks(); ++rank) sum += *cluster.map_shared_rank(&shared, rank);
  cluster.sync();  // the others' memory stays until all have read
  return sum;
#else
  return mine;
#endif
}

/// From the L2 cache: of a state that a kernel before has changed, this multiprocessor's own cache may have what was.
template <int N>
__device__ __forceinline__ Pack<float, N> load_state(const float* p) {
  Pack<float, N> pack;
  if constexpr (N == 4) {
    *reinterpret_cast<float4*>(&pack) = __ldcg(reinterpret_cast<const float4*>(p));
  } else {
    static_assert(N == 1);
    pack.v[0] = __ldcg(p);
  }
  return pack;
}

/// Grid (blocks of a head, H, n). A block takes tiles of kAcross · N value columns in turn, all keys of each.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 2) retention_step_kernel(const Step<T> a) {
  constexpr int kTile = kAcross * N;
  extern __shared__ float memory[];
  float* query = memory;                // [key_dim]
  float* key = query + a.key_dim;       // [key_dim]
  float* partial = key + a.key_dim;     // [kWarps][kTile]
  float* o = partial + kWarps * kTile;  // [tiles of this block][kTile]
  __shared__ float sums[kWarps];
  const int across = static_cast<int>(threadIdx.x) % kAcross, down = static_cast<int>(threadIdx.x) / kAcross;
  const int h = static_cast<int>(blockIdx.y);
  const int64_t i = blockIdx.z;
  const int32_t slot = a.slots[i * a.slot_stride];
  float* const state = a.states + (slot < 0 ? 0 : (int64_t{slot} * a.heads + h) * a.key_dim * int64_t{a.value_dim});
  const int blocks = static_cast<int>(gridDim.x), step = blocks * kTile;
  const auto offset = [&](int row, int column) { return int64_t{row} * a.value_dim + column; };

  Pack<float, N> s[kAhead];
  const auto load_rows = [&](int first, int column) {
#pragma unroll
    for (int r = 0; r < kAhead; ++r) {
      const int row = first + down + r * kDown;
      if (row < a.key_dim && column < a.value_dim) s[r] = load_state<N>(state + offset(row, column));
    }
  };
  int column = static_cast<int>(blockIdx.x) * kTile + across * N;
  if (slot >= 0) load_rows(0, column);
  await_previous();

  const float2* const angles = a.table + i * (a.key_dim / 2);
  const T* const q = a.q + i * a.q_strides.row + h * a.q_strides.head;
  const T* const k = a.k + i * a.k_strides.row + h * a.k_strides.head;
  for (int j = static_cast<int>(threadIdx.x), half = a.key_dim / 2; j < half; j += kThreads) {
    const float2 angle = angles[j];
    const float q1 = to_float(q[j]), q2 = to_float(q[j + half]), k1 = to_float(k[j]), k2 = to_float(k[j + half]);
    query[j] = q1 * angle.x - q2 * angle.y;
    query[j + half] = q2 * angle.x + q1 * angle.y;
    key[j] = a.key_scale * (k1 * angle.x - k2 * angle.y);
    key[j + half] = a.key_scale * (k2 * angle.x + k1 * angle.y);
  }
  // γ = 1 − forget: exact in float where the decay is slow, and S − forget · S is rounded once.
  const auto forget = static_cast<float>(-expm1(a.log2_gamma[h] * 0.693147180559945309417232121458));
  __syncthreads();

  float squares = 0;
  for (int tile = 0; slot >= 0 && static_cast<int>(blockIdx.x) * kTile + tile * step < a.value_dim; ++tile) {
    column = static_cast<int>(blockIdx.x) * kTile + tile * step + across * N;
    float value[N], out[N] = {};
#pragma unroll
    for (int j = 0; j < N; ++j) {
      value[j] = column < a.value_dim ? to_float(a.v[i * a.v_strides.row + h * a.v_strides.head + column + j]) : 0.0F;
    }
    for (int first = 0; first < a.key_dim; first += kRows) {
      if (tile > 0 || first > 0) load_rows(first, column);
#pragma unroll
      for (int r = 0; r < kAhead; ++r) {
        const int row = first + down + r * kDown;
        if (row >= a.key_dim || column >= a.value_dim) continue;
#pragma unroll
        for (int j = 0; j < N; ++j) {
          s[r].v[j] = fmaf(key[row], value[j], fmaf(-forget, s[r].v[j], s[r].v[j]));
          out[j] = fmaf(query[row], s[r].v[j], out[j]);
        }
        store_pack<N>(state + offset(row, column), s[r]);
      }
    }
    // ---- o of the tile: over the two rows of a warp, then over the warps
    __syncthreads();  // the tile before has been read
#pragma unroll
    for (int j = 0; j < N; ++j) {
      out[j] += __shfl_xor_sync(0xffffffffU, out[j], kAcross);
      if (threadIdx.x % 32 < kAcross) partial[static_cast<int>(threadIdx.x) / 32 * kTile + across * N + j] = out[j];
    }
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < kTile; c += kThreads) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += partial[w * kTile + c];
      o[tile * kTile + c] = sum;  // 0 behind the last column
      squares += sum * sum;
    }
  }
  __threadfence();  // a kernel that begins now may load the states before this one is done
  let_next_begin();

  const float mean = cluster_sum(block_sum<kWarps>(squares, sums)) / static_cast<float>(a.value_dim);
  const float rstd = slot < 0 ? 0.0F : rsqrtf(mean + epsilon(a, i, h));
  const int64_t g_row = i * a.g_strides.row + h * a.g_strides.head, y_row = i * a.y_strides.row + h * a.y_strides.head;
  for (int tile = 0; static_cast<int>(blockIdx.x) * kTile + tile * step < a.value_dim; ++tile) {
    for (int c = static_cast<int>(threadIdx.x); c < kTile; c += kThreads) {
      const int j = static_cast<int>(blockIdx.x) * kTile + tile * step + c;
      if (j >= a.value_dim) continue;
      const float gate = to_float(a.g[g_row + j]);
      const float silu = gate * reciprocal_approximate(1.0F + exp2_approximate(-kLog2E * gate));
      const float normed = slot < 0 ? 0.0F : o[tile * kTile + c] * rstd * (a.weight ? a.weight[j] : 1.0F);
      a.y[y_row + j] = from_float<T>(slot < 0 ? 0.0F : silu * normed);
    }
  }
}

template <class T, int N>
void launch(const Queue& queue, const Step<T>& a, int64_t n) {
  constexpr int kTile = kAcross * N;
  const int tiles = (a.value_dim + kTile - 1) / kTile;
  unsigned cluster = 1;
  while (queue.hopper() != nullptr && cluster < kMostCluster && static_cast<int>(cluster) < tiles) cluster *= 2;
  const int tiles_of_block = (tiles + static_cast<int>(cluster) - 1) / static_cast<int>(cluster);
  const size_t shared = sizeof(float) * static_cast<size_t>(2 * a.key_dim + (kWarps + tiles_of_block) * kTile);
  auto* const kernel = retention_step_kernel<T, N>;
  if (shared > kSharedBytes) {
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
               "retention_step: heads of ", a.key_dim, " x ", a.value_dim);
  }
  launch_following(queue, kernel, dim3(cluster, static_cast<unsigned>(a.heads), static_cast<unsigned>(n)), kThreads,
                   shared, cluster, a);
}

Heads strides_of(const TensorView& x) { return {x.stride[0], x.stride[1]}; }

}  // namespace

void CudaBackend::do_retention_step(const RetentionStepArgs& args) {
  Queue& queue = current();
  const int64_t n = args.q.shape[0], heads = args.q.shape[1];
  if (n == 0) return;
  RETAIN_CHECK(n <= 65535 && heads <= 65535, "retention_step of ", args.q.describe());
  dispatch_compute("retention_step", args.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t key_dim = args.q.shape[2], value_dim = args.v.shape[2];
    const Step<T> a{pointer<T>(args.q),
                    pointer<T>(args.k),
                    pointer<T>(args.v),
                    pointer<T>(args.g),
                    pointer<T>(args.y),
                    static_cast<const float2*>(args.table.data),
                    pointer<double>(args.log2_gamma),
                    pointer<float>(args.weight),
                    pointer<float>(args.states),
                    pointer<int32_t>(args.slots),
                    pointer<int32_t>(args.positions),
                    strides_of(args.q),
                    strides_of(args.k),
                    strides_of(args.v),
                    strides_of(args.g),
                    strides_of(args.y),
                    args.slots.stride[0],
                    args.positions.stride[0],
                    static_cast<int>(heads),
                    static_cast<int>(key_dim),
                    static_cast<int>(value_dim),
                    args.eps_kind == GroupNormEps::kRowsum,
                    1.0F / sqrtf(static_cast<float>(key_dim)),
                    args.eps};
    if (value_dim % 4 == 0 && vector_aligned(args.states)) {
      launch<T, 4>(queue, a, n);
    } else {
      launch<T, 1>(queue, a, n);
    }
  });
  LAUNCH_CHECK("retention_step");
}

}  // namespace retain::cuda
