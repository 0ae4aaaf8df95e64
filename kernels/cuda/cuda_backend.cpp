#include "kernels/cuda/cuda_backend.h"

#include <cuda_profiler_api.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iomanip>
#include <sstream>

#include "kernels/cuda/host_buffer.h"
#include "kernels/workspace.h"

namespace retain {

namespace cuda {

namespace {

constexpr int64_t kSlotBytes = int64_t{4} << 20;  // large enough for full copy speed, small enough to overlap

/// The device's description, after checking that the backend runs on it.
std::string checked_description(int device) {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, device), "GPU ", device);
  if (properties.major < 8) {
    throw Error(ErrorKind::kDevice, concat("GPU ", device, " (", properties.name, ") has compute capability ",
                                           properties.major, ".", properties.minor, "; 8.0 or later is needed"));
  }
  std::ostringstream text;
  text << properties.name << ", " << properties.multiProcessorCount << " SMs, " << std::fixed << std::setprecision(1)
       << static_cast<double>(properties.totalGlobalMem) / (1024.0 * 1024.0 * 1024.0) << " GiB";
  return text.str();
}

class EventTimer final : public DeviceTimer {
 public:
  explicit EventTimer(const Queue& queue) : queue_(queue), begin_(make_event(true)), end_(make_event(true)) {}

  void start() override { record(begin_); }
  void stop() override { record(end_); }
  double elapsed_ms() override {
    queue_.wait(end_, "timer");
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "timer");
    return ms;
  }

 private:
  void record(const Event& event) {
    queue_.activate();
    CUDA_CHECK(cudaEventRecord(event.get(), queue_.stream()), "timer");
  }
  const Queue& queue_;
  Event begin_, end_;
};

}  // namespace

CudaBackend::CudaBackend(int device, Activity* given)
    : Backend(given),
      queue_(device, activity()),
      milestones_([this](const Activity::Place& place) {
        activity().device_at(place);
        activity().progress();
      }),
      description_(checked_description(device)),
      question_(activity(), [this] {
        queue_.activate();
        milestones_.look();
      }) {
  for (Slot& slot : slots_) {
    slot.memory = allocate_pinned(kSlotBytes);
    slot.copied = make_event();
  }
}

CudaBackend::~CudaBackend() {
  static_cast<void>(cudaSetDevice(queue_.device()));
  static_cast<void>(cudaStreamSynchronize(queue_.stream()));  // queued copies still use the pinned slots
}

Queue& CudaBackend::current() {
  queue_.activate();
  return queue_;
}

std::string CudaBackend::device_place() const {
  std::array<char, 32> bus{};
  CUDA_CHECK(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), queue_.device()), "GPU ", queue_.device());
  return concat("GPU ", bus.data());
}

std::unique_ptr<DeviceTimer> CudaBackend::make_timer() { return std::make_unique<EventTimer>(current()); }

void* CudaBackend::allocate(int64_t bytes) {
  queue_.activate();
  return allocate_device(bytes, "a buffer").release();
}

void CudaBackend::release(void* memory) noexcept {
  if (cudaSetDevice(queue_.device()) == cudaSuccess) static_cast<void>(cudaFree(memory));
}

void CudaBackend::mark(const Activity::Place& place) {
  if (records_) return;
  queue_.activate();
  milestones_.mark(queue_.stream(), place);
}

void CudaBackend::do_begin_phase(const char* name) {
  nvtxRangePushA(name);
  phase_ = name;
  mark({.phase = name});
}

void CudaBackend::do_begin_layer() { mark({.phase = phase_, .layer = activity().view().host.layer}); }

void CudaBackend::do_end_phase() {
  nvtxRangePop();
  phase_ = "";
  mark({});
}

void CudaBackend::set_profiling(bool on) {
  synchronize();  // so that the work around the bracket stays outside
  CUDA_CHECK(on ? cudaProfilerStart() : cudaProfilerStop(), "profiler");
}

void CudaBackend::reserve_workspace(const WorkspaceShape& shape) { current().reserve(cuda_workspace_bytes(shape)); }

void CudaBackend::upload(const TensorView& device, const void* host) {
  RETAIN_CHECK(device && device.contiguous() && !records_, "upload to ", device.describe(),
               records_ ? " in a recording" : "");
  queue_.activate();
  const int64_t bytes = device.bytes();
  for (int64_t done = 0; done < bytes; done += kSlotBytes) {
    const auto part = static_cast<size_t>(std::min(kSlotBytes, bytes - done));
    const Slot& slot = slots_[next_slot_];
    next_slot_ = (next_slot_ + 1) % slots_.size();
    queue_.wait(slot.copied, "upload");
    std::memcpy(slot.memory.get(), static_cast<const char*>(host) + done, part);
    CUDA_CHECK(cudaMemcpyAsync(static_cast<char*>(device.data) + done, slot.memory.get(), part, cudaMemcpyHostToDevice,
                               queue_.stream()),
               "upload to ", device.describe());
    CUDA_CHECK(cudaEventRecord(slot.copied.get(), queue_.stream()), "upload");
  }
}

void CudaBackend::download(void* host, const TensorView& device) {
  RETAIN_CHECK(device && device.contiguous() && !records_, "download of ", device.describe(),
               records_ ? " in a recording" : "");
  queue_.activate();
  const int64_t bytes = device.bytes();
  const auto slots = static_cast<int64_t>(slots_.size());
  const int64_t parts = (bytes + kSlotBytes - 1) / kSlotBytes;
  // Part p goes through slot p mod 4; while the host empties one slot, the others are being filled.
  const auto request = [&](int64_t part) {
    const int64_t begin = part * kSlotBytes;
    const Slot& slot = slots_[static_cast<size_t>(part % slots)];
    CUDA_CHECK(cudaMemcpyAsync(slot.memory.get(), static_cast<const char*>(device.data) + begin,
                               static_cast<size_t>(std::min(kSlotBytes, bytes - begin)), cudaMemcpyDeviceToHost,
                               queue_.stream()),
               "download of ", device.describe());
    CUDA_CHECK(cudaEventRecord(slot.copied.get(), queue_.stream()), "download");
  };
  for (int64_t part = 0; part < std::min(parts, slots); ++part) request(part);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = part * kSlotBytes;
    const Slot& slot = slots_[static_cast<size_t>(part % slots)];
    queue_.wait(slot.copied, "download");
    std::memcpy(static_cast<char*>(host) + begin, slot.memory.get(),
                static_cast<size_t>(std::min(kSlotBytes, bytes - begin)));
    if (part + slots < parts) request(part + slots);
  }
}

void CudaBackend::synchronize() { current().synchronize(); }

std::unique_ptr<HostBuffer> CudaBackend::make_host_buffer(int64_t bytes) {
  return std::make_unique<PinnedBuffer>(current(), bytes);
}

}  // namespace cuda

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // no driver or no device: not an error of the program
    return 0;
  }
  return count;
}

GpuMemory cuda_memory(int device) {
  CUDA_CHECK(cudaSetDevice(device), "GPU ", device);
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total), "GPU ", device);
  return {.free_bytes = static_cast<int64_t>(free), .total_bytes = static_cast<int64_t>(total)};
}

std::string cuda_device_name(int device) {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, device), "GPU ", device);
  return properties.name;
}

std::unique_ptr<Backend> make_cuda_backend(int device, Activity* activity) {
  int count = 0;
  CUDA_CHECK(cudaGetDeviceCount(&count), "looking for GPUs");
  if (device < 0 || device >= count) {
    throw Error(ErrorKind::kDevice, concat("GPU ", device, " was asked for, this process sees ", count));
  }
  return std::make_unique<cuda::CudaBackend>(device, activity);
}

}  // namespace retain
