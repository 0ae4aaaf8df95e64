// Kernels that begin before the one before them has ended (programmatic dependent launch, from Hopper on): what a
// kernel loads that the one before did not write, weights and states, is under way when its operands arrive. In a chain
// of short kernels, as of decoding, that hides what a launch and the first load take.
//
// The rules: a kernel so launched calls await_previous() in every thread before it reads or writes anything that the
// kernel before may write or read, and let_next_begin() no sooner than that: then all kernels but the one before are
// done, and what a kernel touches ahead needs to be safe from that one alone.
#pragma once

#include <cstddef>

#include "kernels/cuda/check.h"
#include "kernels/cuda/queue.h"

namespace retain::cuda {

/// Returns when the kernels before are done and what they wrote is seen.
__device__ __forceinline__ void await_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The next kernel may begin once all blocks have called this or ended.
__device__ __forceinline__ void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Launches on the queue's stream, the blocks in clusters of `cluster` along x: of one where it is 1 (before Hopper,
/// where kernels follow each other as ever, it must be).
template <class... Parameters>
void launch_following(const Queue& queue, void (*kernel)(Parameters...), dim3 grid, unsigned block, size_t shared_bytes,
                      unsigned cluster, const Parameters&... parameters) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = cluster;
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(block);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = queue.stream();
  config.attrs = attributes;
  config.numAttrs = queue.hopper() == nullptr ? 0 : cluster > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, parameters...), "launch");
}

}  // namespace retain::cuda
