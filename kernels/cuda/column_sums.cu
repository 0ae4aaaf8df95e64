// The second stage of weight gradients: the sum of the blocks' partial rows, added to the gradient.
#include "kernels/cuda/row.cuh"

namespace retain::cuda {

namespace {

constexpr int kColumns = 32;  // one warp reads 128 consecutive bytes of a partial row
constexpr int kSlices = 16;   // warps that share the rows of a column: 528 rows are 33 loads deep

__global__ void __launch_bounds__(kColumns* kSlices)
    add_column_sums_kernel(const float* partials, int64_t rows, int64_t columns, float* out) {
  __shared__ float shared[kSlices][kColumns];
  const int lane = threadIdx.x % kColumns, slice = threadIdx.x / kColumns;
  const int64_t column = int64_t{blockIdx.x} * kColumns + lane;
  float sum = 0;
  if (column < columns) {
    for (int64_t row = slice; row < rows; row += kSlices) sum += partials[row * columns + column];
  }
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || column >= columns) return;
  sum = 0;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) sum += shared[s][lane];
  out[column] += sum;
}

}  // namespace

void add_column_sums(const char* operation, const float* partials, int64_t rows, int64_t columns, float* out,
                     cudaStream_t stream) {
  add_column_sums_kernel<<<block_count(columns, kColumns), kColumns * kSlices, 0, stream>>>(partials, rows, columns,
                                                                                            out);
  LAUNCH_CHECK(operation, ": column sums");
}

}  // namespace retain::cuda
