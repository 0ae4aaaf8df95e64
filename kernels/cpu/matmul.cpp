// Products: the result is cut into tiles, one call of OpenBLAS each.
#include <cblas.h>

#include <algorithm>
#include <limits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/project.h"

namespace retain::cpu {
namespace {

struct Tile {
  int64_t rows, columns;
};

constexpr int64_t kTilesWanted = 8;     // enough to keep a few cores busy
constexpr int64_t kLargestTile = 1024;  // beyond this, products get no faster

/// Half of a side, as a multiple of 16.
int64_t half(int64_t side) { return (side + 31) / 32 * 16; }

/// The tile of an [m, n] result: a large one, cut until there are enough of them. Rows are cut first, because OpenBLAS
/// packs the right operand once for all rows of a tile; below 128, packing would cost more than the product.
Tile choose_tile(int64_t m, int64_t n) {
  Tile tile{std::min(m, kLargestTile), std::min(n, kLargestTile)};
  const auto too_few = [&] {
    return ((m + tile.rows - 1) / tile.rows) * ((n + tile.columns - 1) / tile.columns) < kTilesWanted;
  };
  for (const int64_t smallest : {256, 128}) {
    while (too_few() && tile.rows > smallest) tile.rows = std::max(half(tile.rows), smallest);
    while (too_few() && tile.columns > smallest) tile.columns = std::max(half(tile.columns), smallest);
  }
  return tile;
}

int blas_int(int64_t value) {
  RETAIN_CHECK(value <= std::numeric_limits<int>::max(), "a matrix of the product has ", value, " rows or columns");
  return static_cast<int>(value);
}

CBLAS_TRANSPOSE blas_transpose(bool transpose) { return transpose ? CblasTrans : CblasNoTrans; }

/// A single row may come with any stride; BLAS wants at least the columns.
template <class T>
int64_t leading(const Matrix<T>& x) {
  return std::max<int64_t>({x.rows > 1 ? x.stride : x.columns, x.columns, 1});
}

template <class T>
void matmul_typed(const MatmulArgs& args, ThreadPool* threads) {
  const Matrix<T> a(args.a), b(args.b), c(args.c);
  const int64_t k = args.transpose_a ? a.rows : a.columns;
  for (const int64_t size : {leading(a), leading(b), leading(c), a.rows, b.rows, c.rows}) blas_int(size);
  const Tile tile = choose_tile(c.rows, c.columns);
  const int64_t across = (c.columns + tile.columns - 1) / tile.columns, down = (c.rows + tile.rows - 1) / tile.rows;
  parallel_items(threads, across * down, [&](int64_t i, int) {
    const int64_t row = i / across * tile.rows, column = i % across * tile.columns;
    gemm(args.transpose_a, args.transpose_b, std::min(tile.rows, c.rows - row),
         std::min(tile.columns, c.columns - column), k, static_cast<T>(args.alpha),
         a.data + (args.transpose_a ? row : row * leading(a)), leading(a),
         b.data + (args.transpose_b ? column * leading(b) : column), leading(b), static_cast<T>(args.beta),
         c.data + row * leading(c) + column, leading(c));
  });
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, blas_transpose(transpose_a), blas_transpose(transpose_b), static_cast<int>(m),
              static_cast<int>(n), static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta,
              c, static_cast<int>(ldc));
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
          int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc) {
  cblas_dgemm(CblasRowMajor, blas_transpose(transpose_a), blas_transpose(transpose_b), static_cast<int>(m),
              static_cast<int>(n), static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta,
              c, static_cast<int>(ldc));
}

void CpuBackend::do_matmul(const MatmulArgs& a) {
  const int64_t k = a.transpose_a ? a.a.shape[0] : a.a.shape[1];
  RETAIN_CHECK(a.c.dtype == a.a.dtype, "matmul: c is ", a.c.describe(), ", want ", dtype_name(a.a.dtype), " on CPU");
  if (a.c.elements() == 0) return;
  dispatch(a.c.dtype, [&]<class T>(T) { matmul_typed<T>(a, threads_for(a.c.elements() * k / 8)); });
}

void CpuBackend::do_project(const ProjectArgs& a) { project_in_parts(*this, a); }

}  // namespace retain::cpu
