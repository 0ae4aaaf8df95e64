// Which number was the first that is not finite, when a run has diverged: the step is computed once more, and looked
// at.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "parallel/agreement.h"
#include "trainer/numerics/naming.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

/// The parameters in the order in which backward completes them.
std::vector<const ParameterSpec*> in_flat_order(const ParameterLayout& layout) {
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& spec : layout.parameters) specs.push_back(&spec);
  std::ranges::sort(specs, {}, &ParameterSpec::flat_offset);
  return specs;
}

std::optional<size_t> first_not_finite(Backend& backend, const TensorView& sums) {
  std::vector<double> values(static_cast<size_t>(sums.elements()));
  backend.download(values.data(), sums);
  const auto bad = std::ranges::find_if(values, [](double x) { return !std::isfinite(x); });
  if (bad == values.end()) return std::nullopt;
  return static_cast<size_t>(bad - values.begin());
}

}  // namespace

std::optional<Trainer::BadNumber> Trainer::find_bad_weight(const TensorView& sums) {
  parameters_.await_weights(0);
  const std::vector<const ParameterSpec*> specs = in_flat_order(layout_);
  backend_.fill(sums, 0);
  for (size_t i = 0; i < specs.size(); ++i) {
    backend_.reduce({.kind = ReduceKind::kSum,
                     .x = parameters_.flat_weights().slice(0, specs[i]->flat_offset, specs[i]->elements()),
                     .out = sums.slice(0, static_cast<int64_t>(i), 1)});
  }
  const auto bad = first_not_finite(backend_, sums);
  if (!bad) return std::nullopt;
  return BadNumber{.order = static_cast<int64_t>(*bad), .name = "the weight " + specs[*bad]->name};
}

std::optional<Trainer::BadNumber> Trainer::find_bad_result(const Step& step, const TensorView& sums) {
  const std::vector<const ParameterSpec*> specs = in_flat_order(layout_);
  upload_settings(step, {});
  // Of a micro-batch: sums of what the embedding and each block give, the loss, and a sum of squares of each gradient.
  const size_t loss = 1 + static_cast<size_t>(dims_.model.layers);
  const auto name_of = [&](size_t place) -> std::string {
    if (place == 0) return "the embedded tokens";
    if (place < loss) return concat("the output of layer ", place - 1);
    return place == loss ? "the loss" : "the gradient of " + specs[place - loss - 1]->name;
  };
  model_.set_look([&](size_t place, const TensorView& rows) {
    backend_.reduce({.kind = ReduceKind::kSum,
                     .x = rows,
                     .out = sums.slice(0, static_cast<int64_t>(place), 1),
                     .accumulate = true});
  });
  std::optional<BadNumber> first;
  for (size_t micro = 0; micro < step.batches.size(); ++micro) {
    backend_.fill(sums, 0);
    MicroBatchPass pass{.rehearsal = true, .sum_of_losses = sums.slice(0, static_cast<int64_t>(loss), 1)};
    pass.look = [&](size_t bucket) {
      const Range range = layout_.buckets[bucket];
      for (size_t i = 0; i < specs.size(); ++i) {
        const int64_t begin = specs[i]->flat_offset;
        if (begin < range.begin || begin >= range.end) continue;
        backend_.reduce({.kind = ReduceKind::kSumOfSquares,
                         .x = parameters_.bucket_gradients(bucket).slice(0, begin - range.begin, specs[i]->elements()),
                         .out = sums.slice(0, static_cast<int64_t>(loss + 1 + i), 1)});
      }
    };
    train_on(step.batches[micro], pass);
    // The ranks of a replica compute all of them together, whatever one of them has found.
    const auto bad = first_not_finite(backend_, sums);
    if (!bad || first) continue;
    first = BadNumber{.order = static_cast<int64_t>(static_cast<size_t>(sums.elements()) * (1 + micro) + *bad),
                      .name = concat(name_of(*bad), " in micro-batch ", micro)};
  }
  model_.set_look({});
  return first;
}

std::string Trainer::find_bad_numbers() {
  RETAIN_CHECK(next_ && queued_.empty(), "no step was prepared, or ", queued_.size(), " are not finished");
  std::optional<BadNumber> bad;
  if (next_->uploaded) {
    const int64_t count = 2 + dims_.model.layers + std::ssize(layout_.parameters);
    const Buffer buffer(backend_, count * int64_t{sizeof(double)});  // of a run that ends
    const TensorView sums(buffer.data(), DType::kFloat64, {count});
    bad = find_bad_weight(sums);
    std::optional<BadNumber> later = find_bad_result(*next_, sums);  // which all ranks compute together
    if (!bad) bad = std::move(later);
    backend_.synchronize();
  }
  discard();
  // The earliest, and of those that have it the lowest rank.
  constexpr double kNone = std::numeric_limits<double>::max();
  Communicator& host = mesh_.host();
  const auto least = [&](double x) {
    host.all_reduce(TensorView(&x, DType::kFloat64, {1}), ReduceOp::kMin).wait();
    return x;
  };
  const double mine = bad ? static_cast<double>(bad->order) : kNone, first = least(mine);
  if (first == kNone) return "";
  const double rank = least(mine == first ? host.rank() : host.size());
  const std::string what = bad ? concat(bad->name, " on ", describe_place(mesh_, backend_)) : "";
  return broadcast_text(host, what, static_cast<int>(rank));
}

}  // namespace retain
