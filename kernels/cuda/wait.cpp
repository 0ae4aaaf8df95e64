#include "kernels/cuda/wait.h"

#include "kernels/core/error.h"
#include "kernels/cuda/handles.h"

namespace retain::cuda {

namespace {

/// "waiting in X on GPU 0, which had come to loss and backward, layer 3, of step 12".
std::string describe_wait(const Activity::View& at, const char* in) {
  const auto& [phase, layer] = *at.device.phase ? at.device : at.host;
  const std::string where =
      *phase ? concat(", which had come to ", phase, layer < 0 ? "" : concat(", layer ", layer)) : "";
  return concat(in, " on GPU ", at.gpu, where,
                at.step > 0 ? concat(where.empty() ? ", in" : ", of", " step ", at.step) : "");
}

}  // namespace

void wait_for(Activity& activity, cudaEvent_t event, const char* in) {
  activity.wait(WaitsFor::kDevice, in, [&] {
    const cudaError_t state = cudaEventQuery(event);
    if (state == cudaErrorNotReady) static_cast<void>(cudaGetLastError());  // no error: see has_passed()
    if (state != cudaErrorNotReady) CUDA_CHECK(state, describe_wait(activity.view(), in));
    return state == cudaSuccess;
  });
  activity.progress();
}

void wait_for(Activity& activity, cudaStream_t stream, const char* in) {
  const Event event = make_event();
  CUDA_CHECK(cudaEventRecord(event.get(), stream), in);
  wait_for(activity, event.get(), in);
}

}  // namespace retain::cuda
