// Floating-point tensors of a device as float64 values of the host.
#pragma once

#include <vector>

#include "kernels/backend.h"

namespace retain {

/// Host values, rounded, to a contiguous view of float64 or float32.
void upload_rounded(Backend& backend, const TensorView& to, const std::vector<double>& values);

/// The elements of a view of any floating type, row-major. Takes memory of the device for the time of the call only
/// when the view is of a narrower type than float32 or not contiguous.
std::vector<double> download_wide(Backend& backend, const TensorView& x);

}  // namespace retain
