#include "parallel/gradient_reducer.h"

namespace retain {

GradientReducer::GradientReducer(Mesh& mesh, std::vector<Range> buckets, int zero)
    : mesh_(mesh),
      buckets_(std::move(buckets)),
      share_(replica_share(buckets_, mesh.replicas().rank(), mesh.replicas().size())),
      updated_(updated_share(buckets_, mesh.replicas().rank(), mesh.replicas().size(), zero)),
      kept_(gradients_kept(mesh.replicas().size(), zero)) {}

Pending GradientReducer::begin_reduce(const TensorView& gradients, const TensorView& own) const {
  return updates_share_alone() ? mesh_.replicas().reduce_scatter(own, gradients)
                               : mesh_.replicas().all_reduce(gradients, ReduceOp::kSum);
}

Pending GradientReducer::begin_gather(const TensorView& bucket) const {
  if (!updates_share_alone()) return {};
  return mesh_.replicas().all_gather(bucket, own_part(bucket));
}

void GradientReducer::gather_shares(const TensorView& flat) const {
  RETAIN_CHECK(flat.rank == 1 && flat.shape[0] == buckets_.back().end, "buckets up to ", buckets_.back().end, " of ",
               flat.describe());
  for (const Range& range : buckets_) {
    const TensorView bucket = flat.slice(0, range.begin, range.size());
    mesh_.replicas().all_gather(bucket, own_part(bucket)).wait();
  }
}

TensorView GradientReducer::own_part(const TensorView& bucket) const {
  const Range own = even_shard(bucket.elements(), mesh_.replicas().rank(), mesh_.replicas().size());
  return bucket.slice(0, own.begin, own.size());
}

}  // namespace retain
