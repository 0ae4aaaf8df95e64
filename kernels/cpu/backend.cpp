// Memory, copies and fills of the CPU backend, and its workspace.
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "kernels/core/host_pages.h"
#include "kernels/core/memory.h"
#include "kernels/core/random.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/workspace.h"

namespace retain {

std::unique_ptr<Backend> make_cpu_backend(int threads, Activity* activity) {
  return std::make_unique<cpu::CpuBackend>(threads, activity);
}

int64_t cpu_workspace_bytes(const WorkspaceShape& s, int threads) {
  const int64_t norms = cpu::kReductionBlocks * std::max(s.hidden_size, s.value_dim) * int64_t{sizeof(double)};
  const int64_t reduce = (s.parameters / cpu::kReduceBlockElements + 1) * int64_t{sizeof(double)};
  const int64_t retention = threads * cpu::retention_scratch_bytes(s.tokens, s.chunk, s.key_dim, s.value_dim,
                                                                   s.compute == DType::kFloat64 ? 8 : 4);
  return align_up(std::max({norms, reduce, retention}), kAlignmentBytes);
}

namespace cpu {
namespace {

/// The offsets, in elements, of the rows (all dims but the last) of a strided view, one after the other.
class RowWalk {
 public:
  explicit RowWalk(const TensorView& x) : x_(x) {}
  int64_t offset(int64_t row) const {
    int64_t sum = 0;
    for (int d = x_.rank - 2; d >= 0; --d) {
      sum += row % x_.shape[d] * x_.stride[d];
      row /= x_.shape[d];
    }
    return sum;
  }

 private:
  const TensorView& x_;
};

int64_t columns_of(const TensorView& x) { return x.shape[x.rank - 1]; }
int64_t rows_of(const TensorView& x) { return columns_of(x) ? x.elements() / columns_of(x) : 0; }

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, Bfloat16>) {
    return static_cast<To>(x.to_float());
  } else if constexpr (std::is_same_v<To, Bfloat16> && std::is_same_v<From, double>) {
    // Through float32 rounded to odd, so that rounding twice is rounding once.
    float f = static_cast<float>(x);
    if (std::abs(static_cast<double>(f)) > std::abs(x)) f = std::nextafter(f, 0.F);
    if (static_cast<double>(f) != x) f = std::bit_cast<float>(std::bit_cast<uint32_t>(f) | 1U);
    return Bfloat16::from_float(f);
  } else if constexpr (std::is_same_v<To, Bfloat16>) {
    return Bfloat16::from_float(x);
  } else {
    return static_cast<To>(x);
  }
}

template <class To, class From>
void copy_rows(ThreadPool* threads, const TensorView& dst, const TensorView& src) {
  const RowWalk to(dst), from(src);
  const int64_t columns = columns_of(dst), to_step = dst.stride[dst.rank - 1], from_step = src.stride[src.rank - 1];
  parallel_for(threads, rows_of(dst), [&](int64_t row) {
    To* out = dst.as<To>() + to.offset(row);
    const From* in = src.as<From>() + from.offset(row);
    for (int64_t j = 0; j < columns; ++j) out[j * to_step] = convert<To>(in[j * from_step]);
  });
}

/// f(T{}) with the type of the elements.
template <class F>
void dispatch_any(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kFloat32: return f(float{});
    case DType::kFloat64: return f(double{});
    case DType::kBfloat16: return f(Bfloat16{});
    case DType::kInt32: return f(int32_t{});
    case DType::kUint8: return f(uint8_t{});
  }
}

/// Operations are done when they return, so the clock measures them.
class ClockTimer final : public DeviceTimer {
 public:
  void start() override { begin_ = Clock::now(); }
  void stop() override { end_ = Clock::now(); }
  double elapsed_ms() override { return std::chrono::duration<double, std::milli>(end_ - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_, end_;
};

/// Copies at once, so that no copy is ever under way.
class PageBuffer final : public HostBuffer {
 public:
  explicit PageBuffer(int64_t bytes) : pages_(bytes) {}

  std::byte* data() const override { return pages_.data(); }
  int64_t bytes() const override { return pages_.bytes(); }
  void begin_copy(std::span<const TensorView> tensors) override {
    timer_.start();
    int64_t at = 0;
    for (const TensorView& tensor : tensors) {
      RETAIN_CHECK(tensor && tensor.contiguous() && at + tensor.bytes() <= bytes(), "copy of ", tensor.describe(),
                   " to byte ", at, " of ", bytes());
      std::memcpy(data() + at, tensor.data, static_cast<size_t>(tensor.bytes()));
      at += tensor.bytes();
    }
    timer_.stop();
  }
  void begin_upload(const TensorView& tensor) override {
    RETAIN_CHECK(tensor && tensor.contiguous() && tensor.bytes() <= bytes(), "upload of ", bytes(), " bytes to ",
                 tensor.describe());
    timer_.start();
    std::memcpy(tensor.data, data(), static_cast<size_t>(tensor.bytes()));
    timer_.stop();
  }
  void hold_queue() override {}
  double wait() override { return timer_.elapsed_ms(); }

 private:
  HostPages pages_;
  ClockTimer timer_;
};

}  // namespace

CpuBackend::CpuBackend(int threads, Activity* activity) : Backend(activity), threads_(threads) {
  openblas_set_num_threads(1);  // products are shared out here, in tiles, so OpenBLAS keeps to the calling thread
}

CpuBackend::~CpuBackend() { release(workspace_); }

std::string CpuBackend::device_description() const {
  return concat("CPU, ", threads_.size(), threads_.size() == 1 ? " thread" : " threads", ", OpenBLAS for ",
                openblas_get_corename());
}

std::unique_ptr<DeviceTimer> CpuBackend::make_timer() { return std::make_unique<ClockTimer>(); }

std::unique_ptr<HostBuffer> CpuBackend::make_host_buffer(int64_t bytes) { return std::make_unique<PageBuffer>(bytes); }

void* CpuBackend::allocate(int64_t bytes) {
  RETAIN_CHECK(bytes >= 0, "bytes is ", bytes);
  void* memory = std::aligned_alloc(kAlignmentBytes, align_up(std::max<int64_t>(bytes, 1), kAlignmentBytes));
  if (!memory) throw Error(ErrorKind::kOutOfMemory, concat("cannot allocate ", bytes, " bytes of host memory"));
  return memory;
}

void CpuBackend::release(void* memory) noexcept { std::free(memory); }

void* CpuBackend::scratch(int64_t bytes) {
  if (bytes > workspace_bytes_) {
    release(workspace_);
    workspace_ = nullptr;
    workspace_bytes_ = 0;
    workspace_ = allocate(bytes);
    workspace_bytes_ = bytes;
  }
  return workspace_;
}

void CpuBackend::reserve_workspace(const WorkspaceShape& shape) {
  scratch(cpu_workspace_bytes(shape, threads_.size()));
}

void CpuBackend::upload(const TensorView& device, const void* host) {
  RETAIN_CHECK(device && device.contiguous(), "upload to ", device.describe(), ", want contiguous");
  std::memcpy(device.data, host, static_cast<size_t>(device.bytes()));
}

void CpuBackend::download(void* host, const TensorView& device) {
  RETAIN_CHECK(device && device.contiguous(), "download from ", device.describe(), ", want contiguous");
  std::memcpy(host, device.data, static_cast<size_t>(device.bytes()));
}

void CpuBackend::copy(const TensorView& dst, const TensorView& src) {
  check_copy(dst, src);
  if (dst.rank == 0) return;
  ThreadPool* const threads = threads_for(dst.elements());
  dispatch_any(dst.dtype, [&]<class To>(To) {
    dispatch_any(src.dtype, [&]<class From>(From) {
      constexpr bool kIntegers = std::is_integral_v<To> || std::is_integral_v<From>;
      if constexpr (!kIntegers || std::is_same_v<To, From>) copy_rows<To, From>(threads, dst, src);
    });
  });
}

void CpuBackend::fill(const TensorView& x, double value) {
  RETAIN_CHECK(x, "fill of an absent tensor");
  if (x.rank == 0) return;
  dispatch_any(x.dtype, [&]<class T>(T) {
    T typed{};
    if constexpr (std::is_same_v<T, Bfloat16>) {
      typed = convert<Bfloat16>(value);
    } else {
      typed = static_cast<T>(value);
    }
    const RowWalk walk(x);
    const int64_t columns = columns_of(x), step = x.stride[x.rank - 1];
    parallel_for(threads_for(x.elements()), rows_of(x), [&](int64_t row) {
      T* out = x.as<T>() + walk.offset(row);
      for (int64_t j = 0; j < columns; ++j) out[j * step] = typed;
    });
  });
}

void CpuBackend::do_fill_normal(const FillNormalArgs& a) {
  dispatch(a.x.dtype, [&]<class T>(T) {
    const Matrix<T> x(a.x);
    parallel_for(threads_for(a.x.elements()), x.rows, [&](int64_t i) {
      const int64_t first = (a.first_row + i) * a.global_columns + a.first_column;
      T* row = x.row(i);
      for (int64_t j = 0; j < x.columns; ++j) {
        row[j] = static_cast<T>(a.std * philox_normal(a.key, static_cast<uint64_t>(first + j)));
      }
    });
  });
}

}  // namespace cpu
}  // namespace retain
