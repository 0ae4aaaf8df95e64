// Tensors of a backend filled from and read back into std::vector<double>, deterministic random values, and the error
// that tests judge by. Nothing here assumes that the host can reach the backend's memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "kernels/core/random.h"

namespace retain::test {

using Values = std::vector<double>;

/// A contiguous row-major view of any shape.
inline TensorView make_view(void* data, DType dtype, const std::vector<int64_t>& shape) {
  TensorView view;
  view.data = data;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  int64_t step = 1;
  for (int d = view.rank - 1; d >= 0; --d) {
    view.shape[d] = shape[d];
    view.stride[d] = step;
    step *= shape[d];
  }
  return view;
}

inline std::vector<int64_t> shape_of(const TensorView& x) { return {x.shape.begin(), x.shape.begin() + x.rank}; }

/// The bytes of `values` in another type, rounded to nearest even; integers truncate.
inline std::vector<unsigned char> encode(DType dtype, const Values& values) {
  std::vector<unsigned char> bytes(values.size() * dtype_bytes(dtype));
  const auto put = [&](size_t i, auto x) { std::memcpy(bytes.data() + i * sizeof(x), &x, sizeof(x)); };
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case DType::kFloat32: put(i, static_cast<float>(values[i])); break;
      case DType::kFloat64: put(i, values[i]); break;
      case DType::kBfloat16: put(i, Bfloat16::from_float(static_cast<float>(values[i]))); break;
      case DType::kInt32: put(i, static_cast<int32_t>(values[i])); break;
      case DType::kUint8: put(i, static_cast<uint8_t>(values[i])); break;
    }
  }
  return bytes;
}

inline Values decode(DType dtype, const std::vector<unsigned char>& bytes) {
  Values values(bytes.size() / dtype_bytes(dtype));
  const auto get = [&]<class T>(size_t i, T x) {
    std::memcpy(&x, bytes.data() + i * sizeof(x), sizeof(x));
    return x;
  };
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case DType::kFloat32: values[i] = get(i, float{}); break;
      case DType::kFloat64: values[i] = get(i, double{}); break;
      case DType::kBfloat16: values[i] = get(i, Bfloat16{}).to_float(); break;
      case DType::kInt32: values[i] = get(i, int32_t{}); break;
      case DType::kUint8: values[i] = get(i, uint8_t{}); break;
    }
  }
  return values;
}

/// What is left of the values after rounding to the type.
inline Values rounded(DType dtype, const Values& values) { return decode(dtype, encode(dtype, values)); }

/// Owns a contiguous tensor of a backend.
class DeviceTensor {
 public:
  /// Poisoned with ones: NaN in floating types, -1 in int32, 255 in uint8, so that an element never written shows.
  DeviceTensor(Backend& backend, DType dtype, const std::vector<int64_t>& shape)
      : backend_(&backend),
        buffer_(backend, elements(shape) * dtype_bytes(dtype)),
        view_(make_view(buffer_.data(), dtype, shape)) {
    const std::vector<unsigned char> poison(static_cast<size_t>(view_.bytes()), 0xff);
    backend_->upload(view_, poison.data());
  }
  DeviceTensor(Backend& backend, DType dtype, const std::vector<int64_t>& shape, const Values& values)
      : backend_(&backend),
        buffer_(backend, elements(shape) * dtype_bytes(dtype)),
        view_(make_view(buffer_.data(), dtype, shape)) {
    set(values);
  }

  const TensorView& view() const { return view_; }
  operator TensorView() const { return view_; }  // NOLINT: stands for its view in argument lists

  void set(const Values& values) {
    RETAIN_CHECK(static_cast<int64_t>(values.size()) == view_.elements(), values.size(), " values for ",
                 view_.describe());
    backend_->upload(view_, encode(view_.dtype, values).data());
  }
  Values values() const {
    std::vector<unsigned char> bytes(static_cast<size_t>(view_.bytes()));
    backend_->download(bytes.data(), view_);
    return decode(view_.dtype, bytes);
  }

  static int64_t elements(const std::vector<int64_t>& shape) {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    return n;
  }

 private:
  Backend* backend_;
  Buffer buffer_;
  TensorView view_;
};

/// Reads and writes a strided view through the backend's own copy.
inline Values read(Backend& backend, const TensorView& view) {
  DeviceTensor packed(backend, view.dtype, shape_of(view));
  backend.copy(packed, view);
  return packed.values();
}
inline void write(Backend& backend, const TensorView& view, const Values& values) {
  backend.copy(view, DeviceTensor(backend, view.dtype, shape_of(view), values));
  backend.synchronize();
}

/// Standard normal values times `scale`, a function of the seed alone.
inline Values random_values(int64_t count, uint64_t seed, double scale = 1) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = scale * philox_normal(seed, static_cast<uint64_t>(i));
  return values;
}

/// Integers in [begin, end), a function of the seed alone.
inline Values random_integers(int64_t count, uint64_t seed, int64_t begin, int64_t end) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<double>(
        begin + static_cast<int64_t>(philox_bits(seed, static_cast<uint64_t>(i)) % static_cast<uint64_t>(end - begin)));
  }
  return values;
}

/// ‖got − want‖ / ‖want‖ (‖got‖ when want is zero); NaN when anything is NaN.
inline double rel_frobenius(const Values& got, const Values& want) {
  RETAIN_CHECK(got.size() == want.size(), "got ", got.size(), " values, want ", want.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(difference / (norm > 0 ? norm : 1.0));
}

}  // namespace retain::test
