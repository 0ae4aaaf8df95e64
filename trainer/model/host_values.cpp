#include "trainer/model/host_values.h"

#include "kernels/core/memory.h"

namespace retain {

namespace {

// A contiguous view of this shape, row-major.
TensorView contiguous_like(const TensorView& x, DType dtype, void* data) {
  TensorView out = x;
  out.data = data;
  out.dtype = dtype;
  for (int64_t d = x.rank - 1, step = 1; d >= 0; --d) {
    out.stride[d] = step;
    step *= x.shape[d];
  }
  return out;
}

}  // namespace

void upload_rounded(Backend& backend, const TensorView& to, const std::vector<double>& values) {
  if (to.dtype == DType::kFloat64) {
    backend.upload(to, values.data());
  } else {
    const std::vector<float> narrow(values.begin(), values.end());
    backend.upload(to, narrow.data());
  }
}

std::vector<double> download_wide(Backend& backend, const TensorView& x) {
  if (x.dtype == DType::kBfloat16 || !x.contiguous()) {
    const DType wide = x.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
    const Buffer buffer(backend, x.elements() * dtype_bytes(wide));
    const TensorView copy = contiguous_like(x, wide, buffer.data());
    backend.copy(copy, x);
    return download_wide(backend, copy);
  }
  if (x.dtype == DType::kFloat64) {
    std::vector<double> values(x.elements());
    backend.download(values.data(), x);
    return values;
  }
  std::vector<float> narrow(x.elements());
  backend.download(narrow.data(), x);
  return {narrow.begin(), narrow.end()};
}

}  // namespace retain
