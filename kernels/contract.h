// How the arguments of operations are checked (ops.cpp alone).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>

#include "kernels/core/error.h"
#include "kernels/core/tensor.h"

namespace retain {

/// Checks the arguments of one operation; every message names the operation and the argument, and says got and want.
/// A message is formatted when its check has failed: all of them would take 0.1 ms a layer.
class Contract {
 public:
  explicit Contract(const char* operation) : operation_(operation) {}

  template <class... Parts>
  void that(bool condition, const Parts&... parts) const {
    if (!condition) fail(concat(parts...));
  }

  /// The type of a required argument of the given rank, which must be one that activations have.
  DType compute(const char* name, const TensorView& x, int rank) const {
    that(bool{x}, name, " is absent");
    that(x.rank == rank, name, " is ", x, ", want ", rank, " dims");
    that(x.dtype == DType::kFloat32 || x.dtype == DType::kFloat64 || x.dtype == DType::kBfloat16, name, " is ", x,
         ", want float32, float64 or bfloat16");
    unit_stride(name, x);
    return x.dtype;
  }

  void required(const char* name, const TensorView& x, DType dtype, std::initializer_list<int64_t> shape) const {
    that(bool{x}, name, " is absent, want ", Want{dtype, shape});
    that(x.dtype == dtype && x.has_shape(shape), name, " is ", x, ", want ", Want{dtype, shape});
    unit_stride(name, x);
  }
  void optional(const char* name, const TensorView& x, DType dtype, std::initializer_list<int64_t> shape) const {
    if (x) required(name, x, dtype, shape);
  }
  void contiguous(const char* name, const TensorView& x) const {
    that(!x || x.contiguous(), name, " ", x, " is strided, want contiguous");
  }
  /// x and y may be one tensor, but then element for element.
  void same_or_apart(const char* x_name, const TensorView& x, const char* y_name, const TensorView& y) const {
    if (!x || x.data != y.data) return;
    bool same = same_shape(x, y) && x.dtype == y.dtype;
    for (int d = 0; same && d < x.rank; ++d) same = x.shape[d] == 1 || x.stride[d] == y.stride[d];
    that(same, x_name, " ", x, " starts where ", y_name, " ", y,
         " does but is laid out otherwise; want the same elements or other memory");
  }
  void apart(const char* x_name, const TensorView& x, const char* y_name, const TensorView& y) const {
    that(!x || x.data != y.data, x_name, " and ", y_name, " share memory, want them apart");
  }

 private:
  void unit_stride(const char* name, const TensorView& x) const {
    that(x.rank == 0 || x.shape[x.rank - 1] <= 1 || x.stride[x.rank - 1] == 1, name, " ", x, " has stride ",
         x.rank ? x.stride[x.rank - 1] : 0, " in its last dim, want 1");
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kInternal, concat(operation_, ": ", message));
  }

  /// What an argument should be: "float32[3,5]".
  struct Want {
    DType dtype;
    std::initializer_list<int64_t> shape;
    friend std::ostream& operator<<(std::ostream& out, const Want& want) {
      out << dtype_name(want.dtype);
      const char* separator = "[";
      for (const int64_t n : want.shape) {
        out << separator << n;
        separator = ",";
      }
      return out << ']';
    }
  };

  const char* operation_;
};

}  // namespace retain
