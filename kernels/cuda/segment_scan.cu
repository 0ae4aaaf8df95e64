// segment_scan: contract in kernels/ops.h.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;

struct Scan {
  const float* gathered;  // [P,B,H,K·V]
  const float* carry;     // [P,B]
  const double* log2_gamma;
  float* state;           // [B,H,K·V]
  const float* boundary;  // the same, or null
  float* result;          // the same, or null; may be boundary
  int64_t batch, heads, state_elements, segment_tokens, ranks, rank;
  bool reverse;
};

__global__ void __launch_bounds__(kThreads) segment_scan_kernel(const Scan a) {
  const int64_t element = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t b = blockIdx.y / a.heads, h = blockIdx.y % a.heads;
  if (element >= a.state_elements) return;
  const auto decay = static_cast<float>(exp2(a.log2_gamma[h] * static_cast<double>(a.segment_tokens)));
  const int64_t offset = (b * a.heads + h) * a.state_elements + element;
  const int64_t rank_stride = a.batch * a.heads * a.state_elements;
  float state = a.boundary ? a.boundary[offset] : 0;
  for (int64_t step = 0; step < a.ranks; ++step) {
    const int64_t p = a.reverse ? a.ranks - 1 - step : step;
    if (p == a.rank) a.state[offset] = state;
    if (p == a.rank && !a.result) break;
    state = decay * a.carry[p * a.batch + b] * state + a.gathered[p * rank_stride + offset];
  }
  if (a.result) a.result[offset] = state;
}

}  // namespace

void CudaBackend::do_segment_scan(const SegmentScanArgs& args) {
  Queue& queue = current();
  const TensorView& g = args.gathered;
  if (args.state.elements() == 0) return;
  const Scan a{pointer<float>(g),
               pointer<float>(args.carry),
               pointer<double>(args.log2_gamma),
               pointer<float>(args.state),
               pointer<float>(args.boundary),
               pointer<float>(args.result),
               g.shape[1],
               g.shape[2],
               g.shape[3] * g.shape[4],
               args.segment_tokens,
               g.shape[0],
               args.rank,
               args.reverse};
  RETAIN_CHECK(a.batch * a.heads <= 65535, "segment_scan of ", g.describe());
  const dim3 grid(block_count(a.state_elements, kThreads), static_cast<unsigned>(a.batch * a.heads));
  segment_scan_kernel<<<grid, kThreads, 0, queue.stream()>>>(a);
  LAUNCH_CHECK("segment_scan");
}

}  // namespace retain::cuda
