// Matrix products by cuBLASLt: a plan for each shape, found by measuring the heuristic's candidates the first time the
// shape is met, and kept as text so that a later run on the same machine takes the same algorithms (and so computes the
// same bits). bfloat16 or float32 operands, fp32 arithmetic (no TF32).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "kernels/core/activity.h"
#include "kernels/core/dtype.h"
#include "kernels/cuda/handles.h"

namespace retain::cuda {

/// c_i = alpha op(a_i) op(b_i) + beta c_i for i < batch; row-major with leading dims and strides in elements.
/// op(a) [m,k], op(b) [k,n], c [m,n].
struct Product {
  DType type = DType::kFloat32;    ///< of a and b
  DType c_type = DType::kFloat32;  ///< of c
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  int64_t lda = 0, ldb = 0, ldc = 0;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  double alpha = 1, beta = 0;
};

class Matmul {
 public:
  Matmul(int device, Activity& activity);

  /// `workspace` has kMatmulWorkspaceBytes. Synchronises the device the first time a shape is met.
  void run(const char* operation, const Product& product, cudaStream_t stream, void* workspace);

  /// The table of algorithms (matmul_table.h).
  std::string plans() const;
  /// How often an algorithm was chosen: without another one, plans() stays.
  int64_t times_chosen() const { return times_chosen_; }
  /// Takes over a table of plans(), or says why not: it is of another version, library or device, or damaged.
  std::string set_plans(const std::string& text);

 private:
  struct Key {
    enum Field {
      kType,
      kCType,
      kTransposeA,
      kTransposeB,
      kM,
      kN,
      kK,
      kLda,
      kLdb,
      kLdc,
      kBatch,
      kStrideA,
      kStrideB,
      kStrideC,
      kAlignA,
      kAlignB,
      kAlignC,
      kFields
    };
    static constexpr std::array<const char*, kFields> kNames = {
        "type", "c_type", "transpose_a", "transpose_b", "m",        "n",       "k",       "lda",    "ldb",
        "ldc",  "batch",  "stride_a",    "stride_b",    "stride_c", "align_a", "align_b", "align_c"};
    static_assert(kNames.back(), "every field has a name");
    int64_t field[kFields] = {};
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Plan {
    MatmulDesc description;
    MatrixLayout a, b, c;
    cublasLtMatmulAlgo_t algorithm{};
    bool chosen = false;
  };

  static Key key_of(const Product& product);
  std::string origin() const;
  Plan& plan_for(const char* operation, const Key& key, const Product& product, cudaStream_t stream, void* workspace);
  void choose(const char* operation, Plan& plan, const Key& key, const Product& product, cudaStream_t stream,
              void* workspace);
  cublasStatus_t execute(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Product& product,
                         cudaStream_t stream, void* workspace) const;

  Activity& activity_;
  LtHandle handle_;
  std::string device_name_;
  std::unordered_map<Key, Plan, KeyHash> plans_;
  int64_t times_chosen_ = 0;
};

}  // namespace retain::cuda
