// How the host waits for a device: through the activity of the process (kernels/core/activity.h), never inside a call
// of CUDA that may not return.
#pragma once

#include <string>

#include "kernels/core/activity.h"
#include "kernels/cuda/check.h"

namespace retain::cuda {

/// Has the device passed the event? Throws Error(kDevice) when it failed.
inline bool has_passed(cudaEvent_t event, const std::string& operation) {
  const cudaError_t state = cudaEventQuery(event);
  if (state == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());  // no error, and the check of the next launch must not take it for one
    return false;
  }
  CUDA_CHECK(state, operation);
  return true;
}

/// The host waits for an event. Any thread. Throws Error(kDevice) that says where the device was, when it failed.
void wait_for(Activity& activity, cudaEvent_t event, const char* in);
/// The same for all that was queued on a stream so far.
void wait_for(Activity& activity, cudaStream_t stream, const char* in);

}  // namespace retain::cuda
