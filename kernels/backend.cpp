#include "kernels/backend.h"

namespace retain {

void Backend::copy(const TensorView& dst, const TensorView& src) {
  RETAIN_CHECK(dst && src && same_shape(dst, src), "copy ", src.describe(), " to ", dst.describe());
  do_copy(dst, src);
}

void Backend::fill(const TensorView& x, double value) {
  RETAIN_CHECK(x, "fill of an absent tensor");
  do_fill(x, value);
}

}  // namespace retain
