// Runs a test on every backend and compute type, with the tolerance as part of the parameter. Cases for CUDA are
// skipped where there is no GPU.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tensors.h"

namespace retain::test {

struct BackendCase {
  const char* name;
  bool cuda;
  DType compute;
  double tolerance;  ///< relative Frobenius norm against float64 on the same rounded inputs
};

inline void PrintTo(const BackendCase& c, std::ostream* out) { *out << c.name; }

/// Rounding of one operation: 2^-53, 2^-24 and 2^-9, times the length of the sums; bf16 rounds the result alone.
inline std::vector<BackendCase> backend_cases(double bf16_tolerance = 8e-3) {
  return {{"cpu_float64", false, DType::kFloat64, 1e-11},
          {"cpu_float32", false, DType::kFloat32, 1e-5},
          {"cuda_float32", true, DType::kFloat32, 1e-5},
          {"cuda_bfloat16", true, DType::kBfloat16, bf16_tolerance}};
}

inline std::string backend_case_name(const testing::TestParamInfo<BackendCase>& info) { return info.param.name; }

class BackendTest : public testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override {
    if (!GetParam().cuda) {
      backend_ = make_cpu_backend(1);
    } else if (cuda_device_count() > 0) {
      backend_ = make_cuda_backend(0);
    } else {
      GTEST_SKIP() << "no GPU";
    }
  }

  Backend& backend() { return *backend_; }
  DType compute() const { return GetParam().compute; }
  DType accumulate() const { return compute() == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }
  bool float64() const { return compute() == DType::kFloat64; }

  using Shape = std::vector<int64_t>;
  /// A tensor of the type of activations, or of gradients and states; without values it is poisoned.
  DeviceTensor activation(const Shape& shape) { return {backend(), compute(), shape}; }
  DeviceTensor activation(const Shape& shape, const Values& values) { return {backend(), compute(), shape, values}; }
  DeviceTensor accumulator(const Shape& shape) { return {backend(), accumulate(), shape}; }
  DeviceTensor accumulator(const Shape& shape, const Values& values) {
    return {backend(), accumulate(), shape, values};
  }
  DeviceTensor integers(const Shape& shape, const Values& values) { return {backend(), DType::kInt32, shape, values}; }
  DeviceTensor doubles(const Shape& shape, const Values& values) { return {backend(), DType::kFloat64, shape, values}; }

  void expect_close(const char* what, const Values& got, const Values& want) {
    expect_close(what, got, want, GetParam().tolerance);
  }
  static void expect_close(const char* what, const Values& got, const Values& want, double tolerance) {
    EXPECT_LE(rel_frobenius(got, want), tolerance) << what;
  }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace retain::test
