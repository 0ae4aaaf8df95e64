#include "trainer/model/gradient_memory.h"

#include <algorithm>
#include <array>

namespace retain {

GradientMemory::Views GradientMemory::take(Arena& arena, const ParameterLayout& layout, DType accumulate,
                                           const ReplicaShare& updated, GradientsKept kept) {
  Views views;
  if (kept == GradientsKept::kAll) {
    views.kept = arena.take(accumulate, {layout.flat_elements});
    for (const Range& bucket : layout.buckets)
      views.buckets.push_back(views.kept.slice(0, bucket.begin, bucket.size()));
    return views;
  }
  views.kept = arena.take(accumulate, {updated.size()});
  int64_t largest = 0;
  for (size_t i = 0; i < layout.passing_buckets; ++i) largest = std::max(largest, layout.buckets[i].size());
  std::array<TensorView, kGradientSlots> slots{};
  for (TensorView& slot : slots) slot = arena.take(accumulate, {largest});
  for (size_t i = 0; i < layout.buckets.size(); ++i) {
    const int64_t elements = layout.buckets[i].size();
    views.buckets.push_back(i < layout.passing_buckets ? slots.at(i % slots.size()).slice(0, 0, elements)
                                                       : arena.take(accumulate, {elements}));
  }
  return views;
}

int64_t GradientMemory::bytes(const ParameterLayout& layout, DType accumulate, const ReplicaShare& updated,
                              GradientsKept kept) {
  Arena arena;
  take(arena, layout, accumulate, updated, kept);
  return arena.used_bytes();
}

GradientMemory::GradientMemory(Backend& backend, const ParameterLayout& layout, DType accumulate,
                               const ReplicaShare& updated, GradientsKept kept)
    : kept_(kept), ranges_(layout.buckets), buffer_(backend, bytes(layout, accumulate, updated, kept)) {
  Arena arena(buffer_);
  views_ = take(arena, layout, accumulate, updated, kept);
  backend.fill(TensorView(buffer_.data(), accumulate, {buffer_.bytes() / dtype_bytes(accumulate)}), 0);
}

TensorView GradientMemory::part(Range flat) const {
  if (kept_ == GradientsKept::kAll) return views_.kept.slice(0, flat.begin, flat.size());
  const auto after = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return flat.begin < r.end; });
  RETAIN_CHECK(after != ranges_.end() && after->begin <= flat.begin && flat.end <= after->end, "gradients [",
               flat.begin, ", ", flat.end, ") are not in one bucket");
  return bucket(static_cast<size_t>(after - ranges_.begin())).slice(0, flat.begin - after->begin, flat.size());
}

const TensorView& GradientMemory::flat() const {
  RETAIN_CHECK(kept_ == GradientsKept::kAll, "the gradients of other replicas' shares are not kept");
  return views_.kept;
}

}  // namespace retain
