#include "trainer/optimizer/gradient_exchange.h"

namespace retain {

GradientExchange::GradientExchange(Backend& backend, Mesh& mesh, const GradientReducer& reducer,
                                   const ParameterStore& parameters)
    : backend_(backend),
      mesh_(mesh),
      reducer_(reducer),
      parameters_(parameters),
      under_way_(reducer.buckets().size()) {}

GradientWrite GradientExchange::begin_backward(bool first, bool last) {
  next_ = 0;
  first_ = first;
  reduces_ = last || !keeps_all();
  if (keeps_all()) return first ? GradientWrite::kReplace : GradientWrite::kAdd;
  // The micro-batch before left its last buckets under way, and the forward since then has hidden them.
  for (size_t i = 0; i < under_way_.size(); ++i) await(i);
  const size_t passing = parameters_.layout().passing_buckets;
  if (passing > 0) prepare(0);
  for (size_t i = passing; i < under_way_.size(); ++i) prepare(i);
  return GradientWrite::kAdd;
}

void GradientExchange::prepare(size_t bucket) {
  backend_.fill(parameters_.bucket_gradients(bucket), 0);
  if (first_) return;
  const Range range = reducer_.buckets()[bucket];
  for (const SharePiece& piece : reducer_.share().within(range)) {
    backend_.copy(parameters_.bucket_gradients(bucket).slice(0, piece.flat.begin - range.begin, piece.size()),
                  parameters_.gradient(piece));
  }
}

void GradientExchange::completed(int64_t flat_end) {
  const std::vector<Range>& buckets = reducer_.buckets();
  for (; next_ < buckets.size() && buckets[next_].end <= flat_end; ++next_) {
    if (!reduces_) continue;
    begin_reduce(next_);
    const size_t following = next_ + 1;
    if (keeps_all() || following >= parameters_.layout().passing_buckets) continue;
    // Its slot was that of a bucket whose sum had this whole bucket's backward to be taken.
    if (following >= kGradientSlots) await(following - kGradientSlots);
    prepare(following);
  }
}

void GradientExchange::begin_reduce(size_t bucket) {
  const std::vector<SharePiece> own = reducer_.share().within(reducer_.buckets()[bucket]);
  RETAIN_CHECK(own.size() == 1, own.size(), " pieces of a share in one bucket");
  under_way_[bucket] = reducer_.begin_reduce(parameters_.bucket_gradients(bucket), parameters_.gradient(own.front()));
}

void GradientExchange::finish(double max_norm, const TensorView& sums, const TensorView& norm,
                              const TensorView& scale) {
  RETAIN_CHECK(next_ == under_way_.size() && reduces_, "backward completed ", next_, " of ", under_way_.size(),
               " buckets");
  const TensorView sum_of_squares = sums.slice(0, 1, 1);
  backend_.fill(sum_of_squares, 0);
  for (size_t i = 0; i < under_way_.size(); ++i) {
    await(i);
    sum_partial(reducer_.buckets()[i]);
    add_squares(reducer_.buckets()[i], sum_of_squares);
  }
  mesh_.replicas().all_reduce(sums, ReduceOp::kSum).wait();
  mesh_.tp().all_reduce(sum_of_squares, ReduceOp::kSum).wait();
  backend_.clip_scale({.sum_of_squares = sum_of_squares, .norm = norm, .scale = scale, .max_norm = max_norm});
}

void GradientExchange::sum_partial(Range bucket) {
  for (const SharePiece& piece : reducer_.updated().within(common(bucket, parameters_.layout().group_norms))) {
    mesh_.tp().all_reduce(parameters_.gradient(piece), ReduceOp::kSum).wait();
  }
}

void GradientExchange::add_squares(Range bucket, const TensorView& sum) {
  const ParameterLayout& layout = parameters_.layout();
  const auto add = [&](Range range) {
    for (const SharePiece& piece : reducer_.share().within(common(bucket, range))) {
      backend_.reduce(
          {.kind = ReduceKind::kSumOfSquares, .x = parameters_.gradient(piece), .out = sum, .accumulate = true});
    }
  };
  add(layout.matrices);
  // Norms are equal on all tp ranks: one of these counts them.
  if (mesh_.tp().rank() == 0) add({layout.norms.begin, layout.flat_elements});
}

}  // namespace retain
