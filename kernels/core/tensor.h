// TensorView: a non-owning, strided view of up to five dimensions of device or host memory.
// Who owns the memory is decided elsewhere (Buffer, Arena); a view never outlives its owner.
// An empty view (data == nullptr) stands for "this optional argument is absent".
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/core/dtype.h"

namespace retain {

struct TensorView {
  static constexpr int kMaxRank = 5;

  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};   ///< elements per dim
  std::array<int64_t, kMaxRank> stride{};  ///< in elements; the last dim of every tensor here has stride 1

  TensorView() = default;
  /// A contiguous row-major view.
  TensorView(void* data, DType dtype, std::initializer_list<int64_t> shape);

  explicit operator bool() const { return data != nullptr; }
  int64_t elements() const;
  int64_t bytes() const { return elements() * dtype_bytes(dtype); }
  bool contiguous() const;
  bool has_shape(std::initializer_list<int64_t> want) const;

  /// Typed pointer to the first element; checks the dtype.
  template <class T>
  T* as() const {
    RETAIN_CHECK(dtype == dtype_of<T>(), "tensor is ", dtype_name(dtype), ", asked for ", dtype_name(dtype_of<T>()));
    return static_cast<T*>(data);
  }

  /// Elements [begin, begin + count) of dimension `dim`; keeps the strides.
  TensorView slice(int dim, int64_t begin, int64_t count) const;
  /// The same elements in another shape; only for contiguous views of the same size.
  TensorView reshaped(std::initializer_list<int64_t> shape) const;
  /// Dimension `dim` split into [outer, inner]; any strides.
  TensorView split(int dim, int64_t outer, int64_t inner) const;
  /// "float32[2,64,128]"
  std::string describe() const;
};

/// describe(), for messages that are formatted only when they are needed.
inline std::ostream& operator<<(std::ostream& out, const TensorView& x) { return out << x.describe(); }

/// True if both are absent or have the same shape.
bool same_shape(const TensorView& a, const TensorView& b);

}  // namespace retain
