// The norm of the whole gradient over the mesh, and the factor by which it is clipped, without leaving the device.
#pragma once

#include "parallel/mesh.h"
#include "trainer/model/parameters.h"

namespace retain {

/// Sums the squares of this rank's share, each element of the whole gradient counted once (norm weights, equal on all
/// tp ranks, by tp rank 0), then over the replicas and over tp. `gradients` is flat; only this replica's `share` of it
/// is read and must hold the reduced gradient. sum_of_squares, norm, scale: float64 [1] (see ClipScaleArgs).
void gradient_norm(Backend& backend, Mesh& mesh, const ParameterLayout& layout, const TensorView& gradients,
                   const ReplicaShare& share, double max_norm, const TensorView& sum_of_squares, const TensorView& norm,
                   const TensorView& scale);

}  // namespace retain
