// The CPU backend: plain loops that can be verified by eye, OpenBLAS for the products. Compute type float32 to train,
// float64 to check gradients. Work is cut into parts whose number depends on the shapes alone, never on the number of
// threads, and partial sums are added in a fixed order: results do not depend on the number of threads.
// Private to kernels/cpu.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

// Hot loops are compiled for several instruction sets, and the program takes the best one at its start. Sanitizers
// cannot run before that choice is made, so they get the plain version.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define RETAIN_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RETAIN_CLONES
#endif
#define RETAIN_INLINE inline __attribute__((always_inline))

namespace retain::cpu {

/// The rows of a two-dimensional view.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, columns, stride;

  explicit Matrix(const TensorView& x)
      : data(x ? x.as<T>() : nullptr), rows(x.shape[0]), columns(x.shape[1]), stride(x.stride[0]) {}
  /// Row i; null when the optional tensor is absent.
  T* row(int64_t i) const { return data ? data + i * stride : nullptr; }
};

/// The rows of a view [B,T,H,width].
template <class T>
struct HeadRows {
  T* data;
  int64_t batch, tokens, heads, width;
  int64_t batch_stride, token_stride, head_stride;

  explicit HeadRows(const TensorView& x)
      : data(x.as<T>()),
        batch(x.shape[0]),
        tokens(x.shape[1]),
        heads(x.shape[2]),
        width(x.shape[3]),
        batch_stride(x.stride[0]),
        token_stride(x.stride[1]),
        head_stride(x.stride[2]) {}
  T* at(int64_t b, int64_t t, int64_t h) const { return data + b * batch_stride + t * token_stride + h * head_stride; }
};

/// Element (i) of a vector that need not be contiguous.
template <class T>
struct Vector {
  T* data;
  int64_t stride;

  explicit Vector(const TensorView& x) : data(x.as<std::remove_const_t<T>>()), stride(x.stride[0]) {}
  T& operator[](int64_t i) const { return data[i * stride]; }
};

/// position at which the document of each token starts; absent: never a border.
struct DocumentStart {
  const int32_t* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0;

  explicit DocumentStart(const TensorView& x) {
    if (!x) return;
    data = x.as<int32_t>();
    batch_stride = x.stride[0];
    token_stride = x.stride[1];
  }
  explicit operator bool() const { return data != nullptr; }
  int64_t at(int64_t b, int64_t t) const { return data[b * batch_stride + t * token_stride]; }
};

/// c = alpha op(a) op(b) + beta c on one thread; row-major with leading dims in elements; c is not read when beta is 0.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc);
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
          int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc);

/// Sums over rows are taken in this many ranges of rows, then over the ranges.
inline constexpr int64_t kReductionBlocks = 32;
/// Elements of one partial sum of reduce().
inline constexpr int64_t kReduceBlockElements = 1 << 14;

constexpr int64_t block_begin(int64_t rows, int64_t block) { return rows * block / kReductionBlocks; }

/// Bytes of one thread's scratch of the retention operations (the backward needs the most).
int64_t retention_scratch_bytes(int64_t tokens, int64_t chunk, int64_t key_dim, int64_t value_dim,
                                int64_t element_bytes);

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads, Activity* activity = nullptr);
  ~CpuBackend() override;
  CpuBackend(const CpuBackend&) = delete;
  CpuBackend& operator=(const CpuBackend&) = delete;

  Device device() const override { return Device::kCpu; }
  std::string device_description() const override;
  void* stream() const override { return nullptr; }
  std::unique_ptr<DeviceTimer> make_timer() override;
  bool runs_ahead() const override { return false; }

  void* allocate(int64_t bytes) override;
  void release(void* memory) noexcept override;
  void reserve_workspace(const WorkspaceShape& shape) override;
  int64_t reserved_bytes() const override { return workspace_bytes_; }
  void upload(const TensorView& device, const void* host) override;
  void download(void* host, const TensorView& device) override;
  void copy(const TensorView& dst, const TensorView& src) override;
  void fill(const TensorView& x, double value) override;
  void synchronize() override {}
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override;

 protected:
#define RETAIN_OPERATION(name, Args) void do_##name(const Args& args) override;
#include "kernels/operations.inc"

 private:
  /// The threads, where they are worth using for so many elementary operations.
  ThreadPool* threads_for(int64_t work) { return work < 20000 || threads_.size() == 1 ? nullptr : &threads_; }
  /// Scratch until the next operation; grows when reserve_workspace was not called or was told less.
  void* scratch(int64_t bytes);

  ThreadPool threads_;
  void* workspace_ = nullptr;
  int64_t workspace_bytes_ = 0;
};

/// f(float{}) or f(double{}) by the compute type.
template <class F>
void dispatch(DType compute, const F& f) {
  if (compute == DType::kFloat32) return f(float{});
  if (compute == DType::kFloat64) return f(double{});
  throw Error(ErrorKind::kInternal,
              concat("the CPU backend computes in float32 or float64, got ", dtype_name(compute)));
}

}  // namespace retain::cpu
