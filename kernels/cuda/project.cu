// project: contract in kernels/ops.h. For up to kMostRows rows a product is bound by reading the weight: a warp takes
// some of its rows whole, so that nothing is shared between warps. The norm costs nothing: its factor of a row of x
// comes after the sum, and a warp sees all of that row. More rows are cuBLAS's.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/following.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/project.h"

namespace retain::cuda {

namespace {

constexpr int64_t kMostRows = 8;
constexpr int kThreads = 128, kWarps = kThreads / 32;  // small blocks: the last ones to start hold little up
constexpr int kLoads = 8;                              // of 16 bytes, of a thread, under way at once

template <class T>
struct ThinProduct {
  const T* x;
  const float* norm;  // may be null
  const T* weight;
  T* y;
  int64_t x_stride, weight_stride, y_stride;
  int rows, in, out;  // of x; columns of x; columns of y
  bool adds;
  float eps;
};

/// 16 bytes that are read once.
template <class T>
__device__ __forceinline__ Pack<T, kVectorOf<T>> load_once(const T* p) {
  Pack<T, kVectorOf<T>> pack;
  auto* const words = reinterpret_cast<uint32_t*>(&pack);
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "l"(p));
  return pack;
}

/// What becomes of a column's product: h = act(a) ⊙ b.
template <int kActivation>
__device__ __forceinline__ float activated(float a, float b) {
  if constexpr (kActivation == static_cast<int>(FfnKind::kSwiglu)) return a / (1.0F + __expf(-a)) * b;
  const float gelu = a * 0.5F * (1.0F + erff(a * 0.70710678118654752F));
  return kActivation == static_cast<int>(FfnKind::kGeglu) ? gelu * b : gelu;
}

constexpr int kPlain = -1;  // no activation

/// Blocks that a multiprocessor holds: with few rows of x as many as have 128 KB under way, with more what they need.
constexpr int blocks_of(int rows) { return rows == 1 ? 8 : rows == 2 ? 6 : 3; }

/// kN rows of x (those behind the last are not written), kColumns columns of y a warp.
template <class T, int kN, int kColumns, int kActivation>
__global__ void __launch_bounds__(kThreads, blocks_of(kN)) project_kernel(const ThinProduct<T> a) {
  constexpr bool kGated =
      kActivation == static_cast<int>(FfnKind::kSwiglu) || kActivation == static_cast<int>(FfnKind::kGeglu);
  constexpr int kVector = kVectorOf<T>, kRows = kGated ? 2 * kColumns : kColumns;  // of the weight
  constexpr int kSteps = kLoads / kRows > 0 ? kLoads / kRows : 1;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int column = (static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32) * kColumns;
  const T* weight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int of_half = min(column + r % kColumns, a.out - 1);  // behind the end some row, for nothing
    weight[r] = a.weight + (int64_t{r / kColumns} * a.out + of_half) * a.weight_stride;
  }

  Pack<T, kVector> w[kSteps][kRows];
  const auto load_weights = [&](int first) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int j = first + (s * 32 + lane) * kVector;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (j < a.in) w[s][r] = load_once(weight[r] + j);
      }
    }
  };
  load_weights(0);
  await_previous();
  let_next_begin();

  float sums[kN][kRows] = {}, squares[kN] = {};
  for (int first = 0; first < a.in; first += kSteps * 32 * kVector) {
    if (first > 0) load_weights(first);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int j = first + (s * 32 + lane) * kVector;
      if (j >= a.in) continue;
      float wide[kRows][kVector], norm[kVector];
#pragma unroll
      for (int r = 0; r < kRows; ++r) unpack(w[s][r], wide[r]);
      if (a.norm) load(a.norm + j, norm);
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float x[kVector];
        load(a.x + min(n, a.rows - 1) * a.x_stride + j, x);
        if (a.norm) {
#pragma unroll
          for (int e = 0; e < kVector; ++e) {
            squares[n] = fmaf(x[e], x[e], squares[n]);
            x[e] *= norm[e];
          }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int e = 0; e < kVector; ++e) sums[n][r] = fmaf(wide[r][e], x[e], sums[n][r]);
        }
      }
    }
  }

#pragma unroll
  for (int n = 0; n < kN; ++n) {
    const float scale = a.norm ? rsqrtf(warp_sum(squares[n]) / static_cast<float>(a.in) + a.eps) : 1.0F;
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[n][r] = scale * warp_sum(sums[n][r]);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (lane != c || n >= a.rows || column + c >= a.out) continue;
      T& y = a.y[n * a.y_stride + column + c];
      float value = sums[n][c];
      if constexpr (kActivation != kPlain)
        value = activated<kActivation>(value, kGated ? sums[n][kRows - kColumns + c] : 0.0F);
      y = from_float<T>(a.adds ? to_float(__ldcg(&y)) + value : value);  // others write beside it
    }
  }
}

template <class T, int kN, int kColumns, int kActivation>
void launch(const Queue& queue, const ThinProduct<T>& a) {
  launch_following(queue, project_kernel<T, kN, kColumns, kActivation>, dim3(block_count(a.out, kWarps * kColumns)),
                   kThreads, 0, 1, a);
}

template <class T, int kColumns, int kActivation>
void launch_rows(const Queue& queue, const ThinProduct<T>& a) {
  if (a.rows == 1) return launch<T, 1, kColumns, kActivation>(queue, a);
  if (a.rows == 2) return launch<T, 2, kColumns, kActivation>(queue, a);
  // x comes from the L1 cache, whose 128 bytes a cycle bind where few rows of the weight share what is read.
  constexpr int kMore = kActivation == kPlain ? 4 : 2;
  if (a.rows <= 4) return launch<T, 4, kMore, kActivation>(queue, a);
  launch<T, 8, kMore, kActivation>(queue, a);
}

template <class T>
void launch_activated(const Queue& queue, const ThinProduct<T>& a, const std::optional<FfnKind>& activation) {
  if (!activation) {
    // A narrow product needs every warp that its columns give.
    constexpr int kNarrow = 8192;
    if (a.out <= kNarrow) return launch_rows<T, 1, kPlain>(queue, a);
    return launch_rows<T, 2, kPlain>(queue, a);
  }
  switch (*activation) {
    case FfnKind::kSwiglu: return launch_rows<T, 1, static_cast<int>(FfnKind::kSwiglu)>(queue, a);
    case FfnKind::kGeglu: return launch_rows<T, 1, static_cast<int>(FfnKind::kGeglu)>(queue, a);
    case FfnKind::kGelu: return launch_rows<T, 1, static_cast<int>(FfnKind::kGelu)>(queue, a);
  }
}

}  // namespace

void CudaBackend::do_project(const ProjectArgs& args) {
  Queue& queue = current();
  const int64_t rows = args.x.shape[0], in = args.x.shape[1];
  if (rows == 0) return;
  dispatch_compute("project", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool vectors = in % kVectorOf<T> == 0 && vectors_aligned(args.x, args.weight, args.norm);
    if (rows > kMostRows || !vectors) return project_in_parts(*this, args);
    const ThinProduct<T> a{pointer<T>(args.x),
                           pointer<float>(args.norm),
                           pointer<T>(args.weight),
                           pointer<T>(args.y),
                           args.x.stride[0],
                           args.weight.stride[0],
                           args.y.stride[0],
                           static_cast<int>(rows),
                           static_cast<int>(in),
                           static_cast<int>(args.y.shape[1]),
                           args.adds,
                           static_cast<float>(args.eps)};
    launch_activated(queue, a, args.activation);
  });
  LAUNCH_CHECK("project");
}

}  // namespace retain::cuda
