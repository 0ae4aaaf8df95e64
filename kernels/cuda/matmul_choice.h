// Which of several algorithms for one matrix product to use, by running them.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "kernels/core/activity.h"

namespace retain::cuda {

/// The number of the candidate to use, of 0 … count-1 in the order of the library's guesses, best guess first; nothing
/// else may run on the device meanwhile. run(i) queues one run of candidate i on the stream and returns false if the
/// library refuses it. Takes a tenth of a second for a large product.
int choose_candidate(const char* operation, int count, const std::function<bool(int)>& run, cudaStream_t stream,
                     Activity& activity);

}  // namespace retain::cuda
