#include "parallel/gradient_reducer.h"

namespace retain {

namespace {

TensorView part_of(const TensorView& flat, Range range) { return flat.slice(0, range.begin, range.size()); }

void check_covers(const std::vector<Range>& buckets, const TensorView& flat) {
  RETAIN_CHECK(flat.rank == 1 && flat.shape[0] == buckets.back().end, "buckets up to ", buckets.back().end, " of ",
               flat.describe());
}

}  // namespace

GradientReducer::GradientReducer(Mesh& mesh, std::vector<Range> buckets, Range partial, int zero)
    : mesh_(mesh),
      buckets_(std::move(buckets)),
      partial_(partial),
      share_(replica_share(buckets_, mesh.replicas().rank(), mesh.replicas().size())),
      updated_(updated_share(buckets_, mesh.replicas().rank(), mesh.replicas().size(), zero)) {}

void GradientReducer::reduce(const TensorView& flat_gradients) const {
  check_covers(buckets_, flat_gradients);
  if (partial_.size() > 0) mesh_.tp().all_reduce(part_of(flat_gradients, partial_), ReduceOp::kSum).wait();
  Communicator& replicas = mesh_.replicas();
  for (const Range& bucket : buckets_) {
    const TensorView gradients = part_of(flat_gradients, bucket);
    if (updates_share_alone()) {
      replicas.reduce_scatter(own_part(flat_gradients, bucket), gradients).wait();
    } else {
      replicas.all_reduce(gradients, ReduceOp::kSum).wait();
    }
  }
}

void GradientReducer::gather_shares(const TensorView& flat) const {
  check_covers(buckets_, flat);
  for (const Range& bucket : buckets_) {
    mesh_.replicas().all_gather(part_of(flat, bucket), own_part(flat, bucket)).wait();
  }
}

void GradientReducer::gather_updated(const TensorView& flat_weights) const {
  if (updates_share_alone()) gather_shares(flat_weights);
}

void GradientReducer::join_updated(const TensorView& x) const {
  if (updates_share_alone()) mesh_.replicas().all_reduce(x, ReduceOp::kSum).wait();
}

TensorView GradientReducer::own_part(const TensorView& flat, Range bucket) const {
  return part_of(flat, even_part(bucket, mesh_.replicas().rank(), mesh_.replicas().size()));
}

}  // namespace retain
