// How much scratch a backend needs, as pure functions: `retain plan` calls them without a device, and
// Backend::reserve_workspace allocates exactly what they say.
#pragma once

#include "kernels/backend.h"

namespace retain {

/// Bytes of scratch of the CPU backend for operations up to these shapes.
int64_t cpu_workspace_bytes(const WorkspaceShape& shape, int threads);
/// Bytes of scratch of the CUDA backend, cuBLASLt's workspace included.
int64_t cuda_workspace_bytes(const WorkspaceShape& shape);

}  // namespace retain
