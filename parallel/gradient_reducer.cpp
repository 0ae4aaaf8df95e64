#include "parallel/gradient_reducer.h"

namespace retain {

GradientReducer::GradientReducer(Communicator& replicas, int zero) : replicas_(replicas), zero_(zero) {
  RETAIN_CHECK(zero == 0 || zero == 1, "zero = ", zero);
}

Range GradientReducer::shard(int64_t elements) const {
  return zero_ == 0 ? Range{0, elements} : even_shard(elements, replicas_.rank(), replicas_.size());
}

TensorView GradientReducer::own_slice(const TensorView& flat) const {
  RETAIN_CHECK(flat.rank == 1, "a flat buffer, not ", flat.describe());
  const Range range = shard(flat.shape[0]);
  return flat.slice(0, range.begin, range.size());
}

void GradientReducer::reduce(const TensorView& flat_gradients) const {
  if (zero_ == 0) {
    replicas_.all_reduce(flat_gradients, ReduceOp::kSum).wait();
  } else {
    replicas_.reduce_scatter(own_slice(flat_gradients), flat_gradients).wait();
  }
}

void GradientReducer::gather(const TensorView& flat_weights) const {
  if (zero_ == 1) replicas_.all_gather(flat_weights, own_slice(flat_weights)).wait();
}

}  // namespace retain
