#include "parallel/sequence_parallel.h"

#include <algorithm>
#include <iterator>

namespace retain {

SequenceParallel::SequenceParallel(Backend& backend, const TensorParallel& axis, int64_t rows, int64_t chunks)
    : backend_(backend), axis_(axis), layout_(rows, axis.rank(), axis.size(), chunks) {}

Pending SequenceParallel::begin_gather(const TensorView& x, int64_t chunk) const {
  return axis_.begin_gather(part(x, layout_.chunk(chunk)), own(x, chunk));
}

Pending SequenceParallel::begin_reduce(const TensorView& x, int64_t chunk) const {
  const Range all = layout_.chunk(chunk), real = layout_.real(chunk);
  if (real.end < all.end) backend_.fill(part(x, {real.end, all.end}), 0);
  return axis_.begin_reduce_scatter(own(x, chunk), part(x, all));
}

RowExchange SequenceParallel::begin_reduce(const TensorView& x) const {
  RowExchange exchange;
  for (int64_t chunk = 0; chunk < layout_.chunks(); ++chunk) exchange.add(begin_reduce(x, chunk));
  return exchange;
}

void SequenceParallel::run(std::span<const RowStage> stages) const {
  const int64_t count = std::ssize(stages), chunks = layout_.chunks();
  std::vector<Pending> under_way(static_cast<size_t>(chunks));
  for (int64_t turn = 0; turn < chunks + count - 1; ++turn) {
    for (int64_t stage = std::max<int64_t>(0, turn - chunks + 1); stage < std::min(count, turn + 1); ++stage) {
      const int64_t chunk = turn - stage;
      Pending& pending = under_way[static_cast<size_t>(chunk)];
      pending.wait();
      pending = stages[static_cast<size_t>(stage)](chunk);
    }
  }
  for (Pending& pending : under_way) pending.wait();
}

}  // namespace retain
