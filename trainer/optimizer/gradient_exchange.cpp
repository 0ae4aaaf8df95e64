#include "trainer/optimizer/gradient_exchange.h"

#include <algorithm>
#include <array>
#include <utility>

namespace retain {

std::vector<TensorView> GradientExchange::take_rounded(Arena& arena, const ParameterLayout& layout) {
  std::array<int64_t, kGradientSlots> largest{};
  for (size_t i = 0; i < layout.buckets.size(); ++i) {
    int64_t& elements = largest.at(i % kGradientSlots);
    elements = std::max(elements, layout.buckets[i].size());
  }
  std::array<TensorView, kGradientSlots> slots{};
  for (size_t i = 0; i < slots.size(); ++i) slots.at(i) = arena.take(DType::kBfloat16, {largest.at(i)});
  std::vector<TensorView> views;
  for (size_t i = 0; i < layout.buckets.size(); ++i)
    views.push_back(slots.at(i % kGradientSlots).slice(0, 0, layout.buckets[i].size()));
  return views;
}

int64_t GradientExchange::memory_bytes(const ParameterLayout& layout, int replicas, GradientType type) {
  if (type == GradientType::kFp32 || replicas == 1) return 0;
  Arena arena;
  take_rounded(arena, layout);
  return arena.used_bytes();
}

GradientExchange::GradientExchange(Backend& backend, Mesh& mesh, const GradientReducer& reducer,
                                   const ParameterStore& parameters, GradientType type)
    : backend_(backend),
      mesh_(mesh),
      reducer_(reducer),
      parameters_(parameters),
      under_way_(reducer.buckets().size()),
      arrived_(under_way_.size()) {
  const int64_t bytes = memory_bytes(parameters.layout(), mesh.replicas().size(), type);
  if (bytes == 0) return;
  buffer_ = Buffer(backend, bytes);
  Arena arena(buffer_);
  rounded_ = take_rounded(arena, parameters.layout());
}

GradientWrite GradientExchange::begin_backward(bool first, bool last, Look look) {
  // The micro-batch before left its last buckets under way, and the forward since then has hidden them.
  await_until(under_way_.size());
  first_ = first;
  reduces_ = last || !keeps_all();
  if (reduces_) arrived_ = 0;
  return begin_buckets(first, std::move(look));
}

GradientWrite GradientExchange::begin_rehearsal(bool first, Look look) {
  RETAIN_CHECK(arrived_ == under_way_.size(), "a rehearsal in the midst of a step");
  first_ = true;
  reduces_ = false;
  return begin_buckets(first, std::move(look));
}

GradientWrite GradientExchange::begin_buckets(bool replaces, Look look) {
  next_ = 0;
  look_ = std::move(look);
  if (keeps_all()) return replaces ? GradientWrite::kReplace : GradientWrite::kAdd;
  const size_t passing = parameters_.layout().passing_buckets;
  if (passing > 0) prepare(0);
  for (size_t i = passing; i < under_way_.size(); ++i) prepare(i);
  return GradientWrite::kAdd;
}

void GradientExchange::prepare(size_t bucket) {
  backend_.fill(parameters_.bucket_gradients(bucket), 0);
  if (first_ || rounds()) return;
  const Range range = reducer_.buckets()[bucket];
  for (const SharePiece& piece : reducer_.share().within(range)) {
    backend_.copy(parameters_.bucket_gradients(bucket).slice(0, piece.flat.begin - range.begin, piece.size()),
                  parameters_.gradient(piece));
  }
}

void GradientExchange::completed(int64_t flat_end) {
  const std::vector<Range>& buckets = reducer_.buckets();
  for (; next_ < buckets.size() && buckets[next_].end <= flat_end; ++next_) {
    if (look_) look_(next_);
    if (reduces_) begin_reduce(next_);
    const size_t following = next_ + 1;
    if (keeps_all() || following >= parameters_.layout().passing_buckets) continue;
    // Its slot was that of a bucket whose sum had this whole bucket's backward to be taken.
    if (following >= kGradientSlots) await_until(following - kGradientSlots + 1);
    prepare(following);
  }
}

void GradientExchange::begin_reduce(size_t bucket) {
  const Range range = reducer_.buckets()[bucket];
  const std::vector<SharePiece> own = reducer_.share().within(range);
  RETAIN_CHECK(own.size() == 1, own.size(), " pieces of a share in one bucket");
  const TensorView gradients = parameters_.bucket_gradients(bucket);
  if (!rounds()) {
    under_way_[bucket] = reducer_.begin_reduce(gradients, parameters_.gradient(own.front()));
    return;
  }
  if (bucket >= kGradientSlots) await_until(bucket - kGradientSlots + 1);  // which used the slot before
  const TensorView& rounded = rounded_[bucket];
  backend_.copy(rounded, gradients);
  under_way_[bucket] =
      reducer_.begin_reduce(rounded, rounded.slice(0, own.front().flat.begin - range.begin, own.front().size()));
}

void GradientExchange::await_until(size_t bucket) {
  for (; arrived_ < bucket; ++arrived_) {
    under_way_[arrived_].wait();
    if (rounds()) take_over(arrived_);
  }
}

void GradientExchange::take_over(size_t bucket) {
  const Range range = reducer_.buckets()[bucket];
  for (const SharePiece& piece : reducer_.updated().within(range)) {
    const TensorView sum = rounded_[bucket].slice(0, piece.flat.begin - range.begin, piece.size());
    if (keeps_all() || first_) {
      backend_.copy(parameters_.gradient(piece), sum);
    } else {
      backend_.add({.x = sum, .y = parameters_.gradient(piece)});
    }
  }
}

void GradientExchange::sit_out(int64_t backwards) {
  if (keeps_all()) return;
  for (int64_t i = 0; i < backwards; ++i) {
    begin_backward(false, i + 1 == backwards);
    completed(parameters_.layout().flat_elements);
  }
}

void GradientExchange::finish(const UpdateBounds& bounds, const TensorView& sums, const TensorView& norm,
                              const TensorView& scale) {
  RETAIN_CHECK(next_ == under_way_.size() && reduces_, "backward completed ", next_, " of ", under_way_.size(),
               " buckets");
  const TensorView loss = sums.slice(0, 0, 1), sum_of_squares = sums.slice(0, 1, 1), agreed_loss = sums.slice(0, 2, 1);
  backend_.fill(sum_of_squares, 0);
  for (size_t i = 0; i < under_way_.size(); ++i) {
    await_until(i + 1);
    sum_partial(reducer_.buckets()[i]);
    add_squares(reducer_.buckets()[i], sum_of_squares);
  }
  mesh_.replicas().all_reduce(sums.slice(0, 0, 2), ReduceOp::kSum).wait();
  backend_.copy(agreed_loss, loss);
  mesh_.tp().all_reduce(sums.slice(0, 1, 2), ReduceOp::kSum).wait();
  backend_.clip_scale({.sum_of_squares = sum_of_squares,
                       .norm = norm,
                       .scale = scale,
                       .max_norm = bounds.max_norm,
                       .loss = agreed_loss,
                       .limits = bounds.limits});
}

void GradientExchange::sum_partial(Range bucket) {
  const ParameterLayout& layout = parameters_.layout();
  const Range norms{layout.norms.begin, layout.flat_elements};
  for (const SharePiece& piece : reducer_.updated().within(common(bucket, norms))) {
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
