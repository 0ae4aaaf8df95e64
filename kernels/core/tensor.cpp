#include "kernels/core/tensor.h"

namespace retain {

TensorView::TensorView(void* data_in, DType dtype_in, std::initializer_list<int64_t> shape_in)
    : data(data_in), dtype(dtype_in), rank(static_cast<int>(shape_in.size())) {
  RETAIN_CHECK(rank <= kMaxRank, "rank ", rank);
  int i = 0;
  for (const int64_t n : shape_in) shape[i++] = n;
  int64_t step = 1;
  for (int d = rank - 1; d >= 0; --d) {
    stride[d] = step;
    step *= shape[d];
  }
}

int64_t TensorView::elements() const {
  if (rank == 0) return 0;
  int64_t n = 1;
  for (int d = 0; d < rank; ++d) n *= shape[d];
  return n;
}

bool TensorView::contiguous() const {
  int64_t step = 1;
  for (int d = rank - 1; d >= 0; --d) {
    if (shape[d] != 1 && stride[d] != step) return false;
    step *= shape[d];
  }
  return true;
}

bool TensorView::has_shape(std::initializer_list<int64_t> want) const {
  if (rank != static_cast<int>(want.size())) return false;
  int d = 0;
  for (const int64_t n : want) {
    if (shape[d++] != n) return false;
  }
  return true;
}

TensorView TensorView::slice(int dim, int64_t begin, int64_t count) const {
  RETAIN_CHECK(dim >= 0 && dim < rank && begin >= 0 && count >= 0 && begin + count <= shape[dim], "slice [", begin,
               ", ", begin + count, ") of dim ", dim, " of ", describe());
  TensorView out = *this;
  if (data) out.data = static_cast<char*>(data) + begin * stride[dim] * dtype_bytes(dtype);
  out.shape[dim] = count;
  return out;
}

TensorView TensorView::reshaped(std::initializer_list<int64_t> new_shape) const {
  RETAIN_CHECK(contiguous(), "reshape of a strided ", describe());
  TensorView out(data, dtype, new_shape);
  RETAIN_CHECK(out.elements() == elements(), describe(), " to ", out.describe());
  return out;
}

TensorView TensorView::split(int dim, int64_t outer, int64_t inner) const {
  RETAIN_CHECK(dim >= 0 && dim < rank && rank < kMaxRank && outer * inner == shape[dim], "split dim ", dim, " of ",
               describe(), " into ", outer, "x", inner);
  TensorView out = *this;
  out.rank = rank + 1;
  for (int d = rank; d > dim + 1; --d) {
    out.shape[d] = shape[d - 1];
    out.stride[d] = stride[d - 1];
  }
  out.shape[dim] = outer;
  out.stride[dim] = stride[dim] * inner;
  out.shape[dim + 1] = inner;
  out.stride[dim + 1] = stride[dim];
  return out;
}

std::string TensorView::describe() const {
  std::string text = dtype_name(dtype);
  text += '[';
  for (int d = 0; d < rank; ++d) {
    if (d) text += ',';
    text += std::to_string(shape[d]);
  }
  return text + ']';
}

bool same_shape(const TensorView& a, const TensorView& b) {
  if (a.rank != b.rank) return false;
  for (int d = 0; d < a.rank; ++d) {
    if (a.shape[d] != b.shape[d]) return false;
  }
  return true;
}

}  // namespace retain
