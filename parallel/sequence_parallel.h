// Sequence parallelism of what lies between the layers (Korthikanti et al. 2022): the ranks of the tp axis, which hold
// other heads and columns of the same tokens, hold other rows of the residual stream, and norm them. A part's input is
// gathered and its output, a partial sum on every rank, is reduce-scattered: together the bytes of an all_reduce, which
// would leave the same rows on every rank.
//
// An activation that is exchanged is whole on every rank, [padded_rows, …]: a chunk of it is gathered from, or reduced
// into, this rank's own rows in their place (row_layout.h). On an axis of one everything is own, and nothing moves.
#pragma once

#include <functional>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "parallel/row_layout.h"
#include "parallel/tensor_parallel.h"

namespace retain {

/// Work on one chunk of rows: queues it and begins the exchange, if any, that the next stage waits for.
using RowStage = std::function<Pending(int64_t chunk)>;

/// Exchanges of the chunks of one activation, the first ones or all, that run beside what is queued until they are
/// waited for.
class [[nodiscard]] RowExchange {
 public:
  void add(Pending chunk) { under_way_.push_back(std::move(chunk)); }
  int64_t chunks() const { return std::ssize(under_way_); }
  void wait(int64_t chunk) { under_way_[static_cast<size_t>(chunk)].wait(); }
  void wait() {
    for (Pending& chunk : under_way_) chunk.wait();
  }

 private:
  std::vector<Pending> under_way_;
};

class SequenceParallel {
 public:
  /// Backend and axis outlive this.
  SequenceParallel(Backend& backend, const TensorParallel& axis, int64_t rows, int64_t chunks);

  const RowLayout& layout() const { return layout_; }
  int64_t chunks() const { return layout_.chunks(); }
  /// Cuts the rows into at most so many chunks from now on; what a rank holds of them changes.
  void set_chunks(int64_t chunks) { layout_ = RowLayout(layout_.real().size(), axis_.rank(), axis_.size(), chunks); }

  /// x [rows or padded_rows, …] without padding; all of it, or of a chunk.
  TensorView real(const TensorView& x) const { return part(x, layout_.real()); }
  TensorView real(const TensorView& x, int64_t chunk) const { return part(x, layout_.real(chunk)); }
  /// x [padded_rows, …]: this rank's rows of a chunk.
  TensorView own(const TensorView& x, int64_t chunk) const { return part(x, layout_.own(chunk)); }
  /// x [own_rows, …]: likewise.
  TensorView held(const TensorView& x, int64_t chunk) const { return part(x, layout_.held(chunk)); }

  // x is [padded_rows, …] and contiguous.

  /// Begins to bring every rank's own rows of a chunk to all.
  Pending begin_gather(const TensorView& x, int64_t chunk) const;
  /// Begins to sum a chunk over the ranks into own rows, whose padding becomes zero; the others' rows are undefined
  /// afterwards.
  Pending begin_reduce(const TensorView& x, int64_t chunk) const;
  /// Of all chunks.
  RowExchange begin_reduce(const TensorView& x) const;

  /// Passes every chunk through all stages and waits for the last exchange of each. While a chunk's exchange is under
  /// way the others' work is queued: chunk c is in stage s when chunk c + 1 is in stage s − 1.
  void run(std::span<const RowStage> stages) const;

 private:
  static TensorView part(const TensorView& x, Range rows) { return x.slice(0, rows.begin, rows.size()); }

  Backend& backend_;
  const TensorParallel& axis_;
  RowLayout layout_;
};

}  // namespace retain
