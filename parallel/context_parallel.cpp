#include "parallel/context_parallel.h"

namespace retain {

TensorView SegmentExchange::finish() {
  if (axis_.size() == 1) return join_.boundary;
  if (!join_.arrived) {
    pending_.wait();
    backend_.segment_scan({.gathered = join_.gathered,
                           .carry = join_.carry,
                           .log2_gamma = add_.context.log2_gamma,
                           .state = join_.state,
                           .boundary = join_.boundary,
                           .result = join_.result,
                           .segment_tokens = join_.segment_tokens,
                           .rank = axis_.rank(),
                           .reverse = add_.reverse});
  }
  const int first = add_.reverse ? axis_.size() - 1 : 0;
  const bool zero = axis_.rank() == first && !join_.boundary;
  if (add_.states && !zero) backend_.retention_add_state(add_);
  return join_.state;
}

SegmentExchange ContextParallel::begin_states(Backend& backend, RetentionStateArgs args,
                                              const SegmentJoin& join) const {
  SegmentExchange exchange(backend, axis_, join);
  if (size() == 1) return exchange;
  exchange.add_ = {.context = args.context, .state = join.state, .states = args.states, .tokens = args.k.shape[1]};
  if (!join.arrived) args.state = own_slice(join);
  if (args.state || args.states) backend.retention_state(args);
  if (!join.arrived) exchange.pending_ = axis_.all_gather(join.gathered, args.state);
  return exchange;
}

SegmentExchange ContextParallel::begin_gradients(Backend& backend, RetentionStateGradientArgs args,
                                                 const SegmentJoin& join) const {
  SegmentExchange exchange(backend, axis_, join);
  if (size() == 1) return exchange;
  exchange.add_ = {
      .context = args.context, .state = join.state, .states = args.dstates, .tokens = args.q.shape[1], .reverse = true};
  args.dstate = own_slice(join);
  backend.retention_state_gradient(args);
  exchange.pending_ = axis_.all_gather(join.gathered, args.dstate);
  return exchange;
}

TensorView ContextParallel::own_slice(const SegmentJoin& join) const {
  const TensorView& all = join.gathered;
  RETAIN_CHECK(all.rank == 5 && all.shape[0] == size(), "gathered ", all.describe(), " over ", size(), " segments");
  return all.slice(0, rank(), 1).reshaped({all.shape[1], all.shape[2], all.shape[3], all.shape[4]});
}

}  // namespace retain
