// What every implementation of Communicator asks of its arguments; each check throws Error(kInternal).
#pragma once

#include "kernels/core/tensor.h"

namespace retain {

/// One contiguous tensor, present unless it has no elements.
void check_collective(const TensorView& x, const char* call);
/// out is size slices of in's type and size; in is exactly slice `rank` of out or does not overlap out. A group of one
/// moves nothing, so there in and out must be the same memory.
void check_all_gather(const TensorView& out, const TensorView& in, int rank, int size);
/// The mirror image: in is size slices of out's type and size.
void check_reduce_scatter(const TensorView& out, const TensorView& in, int rank, int size);
/// A rank of the group.
void check_root(int root, int size);
/// A rank of the group other than this one.
void check_peer(int peer, int rank, int size);

}  // namespace retain
