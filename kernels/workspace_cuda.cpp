#include "kernels/cuda/workspace_layout.h"
#include "kernels/workspace.h"

namespace retain {

int64_t cuda_workspace_bytes(const WorkspaceShape& s) {
  using namespace cuda;
  const RetentionScratch lane(s.batch, s.tokens, s.chunk, s.key_dim, s.value_dim, dtype_bytes(s.compute));
  const int64_t columns = std::max(s.hidden_size, s.value_dim);
  // Also for other GPUs, which do not use it: a plan does not know the device.
  const bool hopper = s.compute == DType::kBfloat16 && hopper_serves(s.chunk, s.key_dim, s.value_dim);
  const int64_t states = hopper ? hopper_states_bytes(s.batch, s.tokens, s.chunk, s.heads, s.key_dim, s.value_dim) : 0;
  const int64_t operation =
      std::max({kLanes * lane.bytes, states, column_partials_bytes(columns), reduce_partials_bytes(),
                embedding_partials_bytes(s.batch * s.tokens, s.hidden_size)});
  return kLanes * kMatmulWorkspaceBytes + align_up(operation, kAlignmentBytes);
}

}  // namespace retain
