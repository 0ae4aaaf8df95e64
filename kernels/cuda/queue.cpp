#include "kernels/cuda/queue.h"

#include "kernels/cuda/wait.h"

namespace retain::cuda {

namespace {

/// Makes the device current before the members that need it are constructed.
int use_device(int device) {
  CUDA_CHECK(cudaSetDevice(device), "GPU ", device);
  return device;
}

}  // namespace

Queue::Queue(int device, Activity& activity)
    : activity_(activity), device_(use_device(device)), matmul_(device, activity) {
  activity.on_gpu(device);
  CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  int shared = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  shared_memory_bytes_ = shared;
#ifdef RETAIN_SM90A
  int major = 0, minor = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major == 9 && minor == 0) hopper_.emplace();
#endif
  for (int i = 0; i < kLanes; ++i) {
    streams_[i] = make_stream();
    events_[i] = make_event();
  }
}

void Queue::synchronize() const { wait_for(activity_, stream(), "synchronize"); }

void Queue::wait(const Event& event, const char* in) const {
  activate();
  wait_for(activity_, event.get(), in);
}

void Queue::grow(int64_t bytes) {
  synchronize();  // queued kernels may still use the old block
  workspace_ = DeviceMemory();
  workspace_bytes_ = 0;
  workspace_ = allocate_device(bytes, "the workspace");
  workspace_bytes_ = bytes;
}

void Queue::reserve(int64_t bytes) {
  if (bytes > workspace_bytes_) grow(bytes);
  reserved_ = true;
}

void* Queue::scratch(const char* operation, int64_t bytes) {
  const int64_t all = kLanes * kMatmulWorkspaceBytes + bytes;
  if (all > workspace_bytes_) {
    RETAIN_CHECK(!reserved_, operation, " needs ", all, " bytes of workspace, reserved are ", workspace_bytes_,
                 ": reserve_workspace was given smaller shapes");
    grow(all);
  }
  return static_cast<char*>(workspace_.get()) + kLanes * kMatmulWorkspaceBytes;
}

Lane Queue::lane(int index) {
  if (!workspace_) scratch("matmul", 0);
  return {streams_[index].get(), static_cast<char*>(workspace_.get()) + index * kMatmulWorkspaceBytes};
}

void Queue::fork() {
  CUDA_CHECK(cudaEventRecord(events_[0].get(), stream()), "fork");
  for (int i = 1; i < kLanes; ++i) CUDA_CHECK(cudaStreamWaitEvent(streams_[i].get(), events_[0].get(), 0), "fork");
}

void Queue::join() {
  for (int i = 1; i < kLanes; ++i) {
    CUDA_CHECK(cudaEventRecord(events_[i].get(), streams_[i].get()), "join");
    CUDA_CHECK(cudaStreamWaitEvent(stream(), events_[i].get(), 0), "join");
  }
}

}  // namespace retain::cuda
