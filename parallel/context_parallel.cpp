#include "parallel/context_parallel.h"

namespace retain {

TensorView ContextParallel::incoming_state(Backend& backend, RetentionStateArgs args, const SegmentJoin& join) const {
  if (size() == 1) return {};
  args.state = own_slice(join);
  backend.retention_state(args);
  return scan(backend, args.context, join, false);
}

TensorView ContextParallel::outgoing_gradient(Backend& backend, RetentionStateGradientArgs args,
                                              const SegmentJoin& join) const {
  if (size() == 1) return {};
  args.dstate = own_slice(join);
  backend.retention_state_gradient(args);
  return scan(backend, args.context, join, true);
}

TensorView ContextParallel::own_slice(const SegmentJoin& join) const {
  const TensorView& all = join.gathered;
  RETAIN_CHECK(all.rank == 5 && all.shape[0] == size(), "gathered ", all.describe(), " over ", size(), " segments");
  return all.slice(0, rank(), 1).reshaped({all.shape[1], all.shape[2], all.shape[3], all.shape[4]});
}

TensorView ContextParallel::scan(Backend& backend, const RetentionContext& context, const SegmentJoin& join,
                                 bool reverse) const {
  axis_.all_gather(join.gathered, own_slice(join)).wait();
  SegmentScanArgs args;
  args.gathered = join.gathered;
  args.carry = join.carry;
  args.log2_gamma = context.log2_gamma;
  args.state = join.state;
  args.boundary = join.boundary;
  args.result = join.result;
  args.segment_tokens = join.segment_tokens;
  args.rank = rank();
  args.reverse = reverse;
  backend.segment_scan(args);
  return join.state;
}

}  // namespace retain
