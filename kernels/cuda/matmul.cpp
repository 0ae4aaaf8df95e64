#include "kernels/cuda/matmul.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/matmul_choice.h"
#include "kernels/cuda/matmul_table.h"
#include "kernels/cuda/workspace_layout.h"

namespace retain::cuda {

namespace {

constexpr int kCandidates = 24;  // of the heuristic's list, best guess first
// Multiply-adds below which a launch takes longer than the work: the heuristic's first choice serves. Loading and
// timing two dozen kernels for each of a tiny model's shapes would take seconds.
constexpr double kWorthMeasuring = 1 << 22;

// Raised whenever choose_candidate() or make_preference() comes to choose otherwise: a kept table then no longer says
// what this program would measure.
constexpr int kTableVersion = 4;

cudaDataType_t data_type(DType type) { return type == DType::kBfloat16 ? CUDA_R_16BF : CUDA_R_32F; }

/// The power of two, up to 256, at which the address lies.
int64_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return address == 0 ? 256 : std::min<int64_t>(256, static_cast<int64_t>(address & (~address + 1)));
}

MatrixLayout make_layout(DType type, int64_t rows, int64_t columns, int64_t leading, int64_t batch, int64_t stride) {
  cublasLtMatrixLayout_t raw = nullptr;
  CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&raw, data_type(type), static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), leading));
  MatrixLayout layout(raw);
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)));
    CUBLAS_CHECK(
        cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)));
  }
  return layout;
}

MatmulDesc make_description(bool transpose_first, bool transpose_second) {
  cublasLtMatmulDesc_t raw = nullptr;
  CUBLAS_CHECK(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  MatmulDesc description(raw);
  const cublasOperation_t first = transpose_first ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = transpose_second ? CUBLAS_OP_T : CUBLAS_OP_N;
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first)));
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof(second)));
  return description;
}

MatmulPreference make_preference(int64_t align_first, int64_t align_second, int64_t align_c) {
  cublasLtMatmulPreference_t raw = nullptr;
  CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&raw));
  MatmulPreference preference(raw);
  const auto set = [raw](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kMatmulWorkspaceBytes));
  // Partial sums of a split contraction stay in fp32: never rounded to a bfloat16 output in between.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(align_first));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(align_second));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(align_c));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(align_c));
  return preference;
}

std::string describe(const Product& p) {
  return concat(dtype_name(p.type), " [", p.m, ",", p.k, "]", p.transpose_a ? "ᵀ" : "", " x [", p.k, ",", p.n, "]",
                p.transpose_b ? "ᵀ" : "", " to ", dtype_name(p.c_type), ", batch ", p.batch);
}

}  // namespace

Matmul::Matmul(int device, Activity& activity) : activity_(activity) {
  cublasLtHandle_t handle = nullptr;
  CUBLAS_CHECK(cublasLtCreate(&handle));
  handle_ = LtHandle(handle);
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  device_name_ = concat(properties.name, ", ", properties.multiProcessorCount, " SMs");
}

size_t Matmul::KeyHash::operator()(const Key& key) const {
  uint64_t hash = 1469598103934665603ULL;  // FNV-1a over the fields
  for (const int64_t value : key.field) hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211ULL;
  return hash;
}

Matmul::Key Matmul::key_of(const Product& p) {
  Key key;
  int64_t* f = key.field;
  f[Key::kType] = static_cast<int64_t>(p.type);
  f[Key::kCType] = static_cast<int64_t>(p.c_type);
  f[Key::kTransposeA] = p.transpose_a;
  f[Key::kTransposeB] = p.transpose_b;
  f[Key::kM] = p.m;
  f[Key::kN] = p.n;
  f[Key::kK] = p.k;
  f[Key::kLda] = p.lda;
  f[Key::kLdb] = p.ldb;
  f[Key::kLdc] = p.ldc;
  f[Key::kBatch] = p.batch;
  f[Key::kStrideA] = p.batch > 1 ? p.stride_a : 0;
  f[Key::kStrideB] = p.batch > 1 ? p.stride_b : 0;
  f[Key::kStrideC] = p.batch > 1 ? p.stride_c : 0;
  f[Key::kAlignA] = alignment_of(p.a);
  f[Key::kAlignB] = alignment_of(p.b);
  f[Key::kAlignC] = alignment_of(p.c);
  return key;
}

cublasStatus_t Matmul::execute(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Product& p,
                               cudaStream_t stream, void* workspace) const {
  const auto alpha = static_cast<float>(p.alpha), beta = static_cast<float>(p.beta);
  // Row-major c = a b is column-major cᵀ = bᵀ aᵀ: b goes first.
  return cublasLtMatmul(handle_.get(), plan.description.get(), &alpha, p.b, plan.b.get(), p.a, plan.a.get(), &beta, p.c,
                        plan.c.get(), p.c, plan.c.get(), &algorithm, workspace,
                        static_cast<size_t>(kMatmulWorkspaceBytes), stream);
}

void Matmul::choose(const char* operation, Plan& plan, const Key& key, const Product& product, cudaStream_t stream,
                    void* workspace) {
  const MatmulPreference preference =
      make_preference(key.field[Key::kAlignB], key.field[Key::kAlignA], key.field[Key::kAlignC]);
  const double multiply_adds = static_cast<double>(product.m) * static_cast<double>(product.n) *
                               static_cast<double>(product.k) * static_cast<double>(product.batch);
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(multiply_adds < kWorthMeasuring ? 1 : kCandidates);
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_.get(), plan.description.get(), plan.b.get(), plan.a.get(), plan.c.get(), plan.c.get(), preference.get(),
      static_cast<int>(candidates.size()), candidates.data(), &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    throw Error(ErrorKind::kDevice, concat(operation, ": cuBLASLt has no algorithm for ", describe(product), ": ",
                                           cublasLtGetStatusString(status)));
  }
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  CUDA_CHECK(cudaStreamIsCapturing(stream, &capture), operation);
  RETAIN_CHECK(capture == cudaStreamCaptureStatusNone, operation, ": ", describe(product),
               " was never computed before it is recorded");
  plan.algorithm = candidates[0].algo;
  plan.chosen = true;
  ++times_chosen_;
  if (found == 1) return;

  // When the caller adds to c, the trials add to a copy of its extent, so that they read as much as the product will;
  // where there is no memory for it, the heuristic's first choice stays.
  Product trial = product;
  DeviceMemory output;
  if (product.beta != 0) {
    const int64_t elements = (product.batch - 1) * product.stride_c + (product.m - 1) * product.ldc + product.n;
    const auto bytes = static_cast<size_t>(elements * dtype_bytes(product.c_type));
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return;
    }
    output = DeviceMemory(memory);
    trial.c = memory;
    CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes, stream), operation);
  }
  const auto run = [&](int i) {
    return candidates[i].state == CUBLAS_STATUS_SUCCESS &&
           execute(plan, candidates[i].algo, trial, stream, workspace) == CUBLAS_STATUS_SUCCESS;
  };
  plan.algorithm = candidates[choose_candidate(operation, found, run, stream, activity_)].algo;
}

Matmul::Plan& Matmul::plan_for(const char* operation, const Key& key, const Product& p, cudaStream_t stream,
                               void* workspace) {
  Plan& plan = plans_[key];
  if (!plan.description) {
    plan.b = p.transpose_b ? make_layout(p.type, p.k, p.n, p.ldb, p.batch, p.stride_b)
                           : make_layout(p.type, p.n, p.k, p.ldb, p.batch, p.stride_b);
    plan.a = p.transpose_a ? make_layout(p.type, p.m, p.k, p.lda, p.batch, p.stride_a)
                           : make_layout(p.type, p.k, p.m, p.lda, p.batch, p.stride_a);
    plan.c = make_layout(p.c_type, p.n, p.m, p.ldc, p.batch, p.stride_c);
    plan.description = make_description(p.transpose_b, p.transpose_a);
    if (plan.chosen) {  // from a table: this library must still accept it
      cublasLtMatmulHeuristicResult_t result{};
      plan.chosen =
          cublasLtMatmulAlgoCheck(handle_.get(), plan.description.get(), plan.b.get(), plan.a.get(), plan.c.get(),
                                  plan.c.get(), &plan.algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
          result.workspaceSize <= static_cast<size_t>(kMatmulWorkspaceBytes);
    }
  }
  if (!plan.chosen) choose(operation, plan, key, p, stream, workspace);
  return plan;
}

void Matmul::run(const char* operation, const Product& product, cudaStream_t stream, void* workspace) {
  if (product.m == 0 || product.n == 0 || product.batch == 0) return;
  RETAIN_CHECK(product.k > 0, operation, ": empty contraction in ", describe(product));
  const Key key = key_of(product);
  const Plan& plan = plan_for(operation, key, product, stream, workspace);
  CUBLAS_CHECK(execute(plan, plan.algorithm, product, stream, workspace), operation, ": ", describe(product));
}

// Everything that a choice depends on, so that a table of another program, library or device is not taken for ours.
std::string Matmul::origin() const {
  std::string fields;
  for (const char* name : Key::kNames) fields += concat(' ', name);
  return concat("retain matmul plans ", kTableVersion, ";", fields, "; workspace ", kMatmulWorkspaceBytes,
                "; cublasLt ", cublasLtGetVersion(), "; ", device_name_);
}

std::string Matmul::plans() const {
  MatmulTable table;
  for (const auto& [key, plan] : plans_) {
    if (!plan.chosen) continue;
    auto& words = table[{std::begin(key.field), std::end(key.field)}];
    static_assert(sizeof(words) == sizeof(plan.algorithm.data));
    std::copy(std::begin(plan.algorithm.data), std::end(plan.algorithm.data), words.begin());
  }
  return write_table(origin(), table);
}

std::string Matmul::set_plans(const std::string& text) {
  const TableReading reading = read_table(text, origin(), Key::kFields);
  for (const auto& [numbers, words] : reading.table) {
    Key key;
    Plan plan;
    std::copy(numbers.begin(), numbers.end(), key.field);
    std::copy(words.begin(), words.end(), plan.algorithm.data);
    plan.chosen = true;
    plans_.insert_or_assign(key, std::move(plan));
    ++times_chosen_;
  }
  return reading.refusal;
}

void CudaBackend::do_matmul(const MatmulArgs& args) {
  Queue& queue = current();
  Product p;
  p.type = args.a.dtype;
  p.c_type = args.c.dtype;
  p.transpose_a = args.transpose_a;
  p.transpose_b = args.transpose_b;
  p.m = args.c.shape[0];
  p.n = args.c.shape[1];
  p.k = args.a.shape[args.transpose_a ? 0 : 1];
  p.a = args.a.data;
  p.b = args.b.data;
  p.c = args.c.data;
  // A single row's stride is never used, but cuBLAS wants it as large as the row.
  p.lda = std::max(args.a.stride[0], args.a.shape[1]);
  p.ldb = std::max(args.b.stride[0], args.b.shape[1]);
  p.ldc = std::max(args.c.stride[0], args.c.shape[1]);
  p.alpha = args.alpha;
  p.beta = args.beta;
  if (p.type != DType::kFloat32 && p.type != DType::kBfloat16) {
    throw Error(ErrorKind::kDevice, concat("matmul: ", dtype_name(p.type), " operands on a GPU"));
  }
  const Lane lane = queue.lane(0);
  queue.matmul().run("matmul", p, lane.stream, lane.matmul_workspace);
}

}  // namespace retain::cuda
