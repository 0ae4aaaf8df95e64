#include "parallel/collective_arguments.h"

#include <functional>

namespace retain {
namespace {

/// `part` is slice `rank` of `whole`, or lies outside of it; for one rank it must be the slice.
void check_slices(const TensorView& whole, const TensorView& part, int rank, int size, const char* call) {
  check_collective(whole, call);
  check_collective(part, call);
  RETAIN_CHECK(whole.dtype == part.dtype && whole.elements() == size * part.elements(), call, " over ", size,
               " ranks: whole ", whole.describe(), ", part ", part.describe());
  const char* begin = static_cast<const char*>(whole.data);
  const char* own = static_cast<const char*>(part.data);
  if (part.elements() == 0 || own == begin + rank * part.bytes()) return;
  RETAIN_CHECK(size > 1, call, ": a group of one moves nothing; give the same memory for the whole and for the part");
  const std::less_equal<> before;  // of pointers that may belong to different blocks
  RETAIN_CHECK(before(own + part.bytes(), begin) || before(begin + whole.bytes(), own), call, ": rank ", rank,
               "'s part overlaps the whole but is not its slice");
}

}  // namespace

void check_collective(const TensorView& x, const char* call) {
  RETAIN_CHECK(x.contiguous(), call, " of a strided ", x.describe());
  RETAIN_CHECK(x.data || x.elements() == 0, call, " of an absent ", x.describe());
}

void check_all_gather(const TensorView& out, const TensorView& in, int rank, int size) {
  check_slices(out, in, rank, size, "all_gather");
}

void check_reduce_scatter(const TensorView& out, const TensorView& in, int rank, int size) {
  check_slices(in, out, rank, size, "reduce_scatter");
}

void check_root(int root, int size) { RETAIN_CHECK(root >= 0 && root < size, "root ", root, " of ", size, " ranks"); }

void check_peer(int peer, int rank, int size) {
  RETAIN_CHECK(peer >= 0 && peer < size && peer != rank, "rank ", rank, " of ", size, " exchanges with rank ", peer);
}

}  // namespace retain
