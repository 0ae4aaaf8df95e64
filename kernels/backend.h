// The one interface to all arithmetic and memory of a device; operations.inc is the table of contents of its
// arithmetic. A Backend is one device and one ordered queue of work: operations take effect in the order of the calls,
// the host may run ahead of them (CUDA) or not (CPU), and synchronize() waits for all of them. Not thread-safe: one
// thread uses one backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "kernels/core/activity.h"
#include "kernels/core/tensor.h"
#include "kernels/ops.h"

namespace retain {

enum class Device : uint8_t { kCpu, kCuda };

/// The largest shapes a run will ask for, from which a backend plans its workspace.
struct WorkspaceShape {
  int64_t batch = 1;   ///< sequences of a micro-batch
  int64_t tokens = 1;  ///< tokens of a sequence on this rank
  int64_t hidden_size = 1;
  int64_t heads = 1;                   ///< on this rank
  int64_t key_dim = 1, value_dim = 1;  ///< of one head
  int64_t ffn_size = 1;                ///< on this rank
  int64_t vocab = 1;                   ///< columns of the logits on this rank
  int64_t logits_rows = 1;             ///< rows of the logits computed at once
  int64_t parameters = 1;              ///< elements of the flat gradient on this rank
  int64_t chunk = 64;                  ///< C of chunkwise retention (retention_plan.h)
  DType compute = DType::kFloat32;
};

/// Measures work of a backend's queue: what is queued between start() and stop(), by events of the device, so that the
/// host may run ahead meanwhile; on the CPU by the clock. May be started again. The backend outlives it.
class DeviceTimer {
 public:
  virtual ~DeviceTimer() = default;
  virtual void start() = 0;
  virtual void stop() = 0;
  /// Waits until the queue has passed stop().
  virtual double elapsed_ms() = 0;
};

/// Memory of a GPU as its driver counts it, all processes together.
struct GpuMemory {
  int64_t free_bytes = 0, total_bytes = 0;
};

/// Host memory, zeros at first and page-locked for a GPU, into which tensors are copied beside the queue:
///   begin_copy(tensors);  // as they are now
///   …                     // work that reads the tensors runs at the same time
///   hold_queue();         // work that writes them runs after the copy
/// or from which one is filled:
///   begin_upload(tensor);  // which nothing that is queued uses
///   …                      // other work runs at the same time
///   hold_queue();          // work that uses the tensor runs after the copy
/// The host waits in wait() alone. The backend outlives it; its end waits for the copy.
class HostBuffer {
 public:
  virtual ~HostBuffer() = default;
  virtual std::byte* data() const = 0;
  virtual int64_t bytes() const = 0;
  /// Copies contiguous tensors, as they are at this point of the queue, one after the other to data(), after any copy
  /// that is still under way. Nobody reads data() until wait() has returned.
  virtual void begin_copy(std::span<const TensorView> tensors) = 0;
  /// Copies the first bytes of data() to a contiguous tensor, at once, whatever is queued. Nobody writes to data()
  /// until the copy is known to be done: by wait(), or because work that came after it is.
  virtual void begin_upload(const TensorView& tensor) = 0;
  /// What is queued from now on runs after the copy that was begun last, if any.
  virtual void hold_queue() = 0;
  /// Waits for the copy that was begun and gives the milliseconds that it took. Any thread may call it. Throws
  /// Error(kDevice).
  virtual double wait() = 0;
};

/// Work of a backend's queue that was recorded (Backend::record). The backend outlives it.
class Recording {
 public:
  virtual ~Recording() = default;
  /// Queues the same operations on the same memory with the same arguments once more, at the cost of one of them.
  virtual void queue() = 0;
};

class Backend {
 public:
  /// Tells `activity`, which outlives it, what it does; without one nobody.
  explicit Backend(Activity* activity = nullptr) : activity_(activity ? *activity : unseen_) {}
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // ---- device ----
  virtual Device device() const = 0;
  virtual std::string device_description() const = 0;  ///< for logs: "NVIDIA H200, 132 SMs, 139.8 GiB"
  /// Which device of its machine it is: "GPU 0000:1B:00.0", by its PCI bus; "" for the CPU.
  virtual std::string device_place() const { return {}; }
  /// The compute stream as the device's own handle (cudaStream_t), for communicators; null on CPU.
  virtual void* stream() const = 0;
  virtual std::unique_ptr<DeviceTimer> make_timer() = 0;
  /// Whether calls return before their work is done, so that the host has time for other things meanwhile.
  virtual bool runs_ahead() const = 0;
  /// What the backend learned by measuring (the fastest algorithm for each matrix product), as text that a later run on
  /// the same machine gives back to compute the same bits without measuring again. Empty where nothing is learned.
  virtual std::string tuning() const { return {}; }
  /// How often something was learned: as long as it stays, so does tuning(), which takes time to write.
  virtual int64_t times_learned() const { return 0; }
  /// Takes such text over, or says why it does not: text of another machine or another version of the program, or
  /// damaged text, changes nothing. Empty when it was taken over.
  virtual std::string set_tuning(const std::string&) { return {}; }
  /// Names what the queue is given from now on, for profilers (NVTX) and the watchdog; nested. See Phase. The name
  /// lives as long as the program.
  void begin_phase(const char* name) {
    activity_.begin_phase(name);
    do_begin_phase(name);
  }
  void end_phase() {
    activity_.end_phase();
    do_end_phase();
  }
  /// What the queue is given next is of this layer of the phase, counted from 0.
  void begin_layer(int layer) {
    activity_.at_layer(layer);
    do_begin_layer();
  }
  /// What the thread that uses this backend is at.
  Activity& activity() { return activity_; }
  /// Switches a profiler that waits for it on and off (the CUDA profiler API).
  virtual void set_profiling(bool /*on*/) {}
  /// What `work` queues, which is not done but kept: operations, copies and fills, of which nothing is left to be
  /// learned because all of them were queued once before, and nothing that waits or moves memory of the host. Phases
  /// and layers inside are told to nobody when it is queued later. Null, and then `work` was not called, where a
  /// backend records nothing.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& /*work*/) { return nullptr; }

  // ---- memory ----
  /// Uninitialised memory aligned to 256 bytes. Throws Error(kOutOfMemory).
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  /// Allocates the scratch that operations of up to these shapes need; later operations allocate nothing.
  /// The bytes are those that workspace.h says for the same shape, so that a plan needs no device.
  virtual void reserve_workspace(const WorkspaceShape& shape) = 0;
  /// Host to device and back; contiguous views of equal dtype and size; in queue order. upload returns when `host` may
  /// be reused, download when `host` holds the data.
  virtual void upload(const TensorView& device, const void* host) = 0;
  virtual void download(void* host, const TensorView& device) = 0;
  /// dst = src, elementwise, converting between floating types (round to nearest even); shapes equal, strides free.
  virtual void copy(const TensorView& dst, const TensorView& src) = 0;
  /// Every element = value.
  virtual void fill(const TensorView& x, double value) = 0;
  virtual void synchronize() = 0;
  /// Throws Error(kOutOfMemory) when the host has not that much, or not that much that can be page-locked.
  virtual std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) = 0;
  /// Memory of the device taken now: buffers and workspace. What a plan says, to the byte.
  int64_t allocated_bytes() const { return buffers_bytes_ + reserved_bytes(); }
  /// Nothing where there is no driver that counts (the CPU).
  virtual std::optional<GpuMemory> gpu_memory() const { return std::nullopt; }

  // ---- operations: operations.inc lists them ----
  // void matmul(const MatmulArgs&); and so on. Each checks its arguments, then calls the implementation.
#define RETAIN_OPERATION(name, Args) \
  void name(const Args& args) {      \
    check(args);                     \
    do_##name(args);                 \
    activity_.progress();            \
  }
#include "kernels/operations.inc"

 protected:
  virtual void do_begin_phase(const char* /*name*/) {}
  virtual void do_end_phase() {}
  virtual void do_begin_layer() {}
  virtual int64_t reserved_bytes() const = 0;  ///< of the workspace
#define RETAIN_OPERATION(name, Args) virtual void do_##name(const Args& args) = 0;
#include "kernels/operations.inc"

 private:
  friend class Buffer;
  int64_t buffers_bytes_ = 0;
  Activity unseen_;
  Activity& activity_;
};

/// A named phase of the step for as long as it lives.
class Phase {
 public:
  Phase(Backend& backend, const char* name) : backend_(backend) { backend_.begin_phase(name); }
  ~Phase() { backend_.end_phase(); }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

 private:
  Backend& backend_;
};

/// A CPU backend that uses `threads` threads (>= 1) for its loops and products.
std::unique_ptr<Backend> make_cpu_backend(int threads, Activity* activity = nullptr);

/// What the machine offers. 0 when there is no GPU, no driver, or no CUDA in this build.
int cuda_device_count();
/// The memory of a device of this process, which has its context there from now on. Throws Error(kDevice).
GpuMemory cuda_memory(int device);
/// What the driver calls it: "NVIDIA H200". Throws Error(kDevice).
std::string cuda_device_name(int device);
/// A CUDA backend on a device of this process. Throws Error(kDevice) with the reason when there is none.
std::unique_ptr<Backend> make_cuda_backend(int device, Activity* activity = nullptr);

}  // namespace retain
