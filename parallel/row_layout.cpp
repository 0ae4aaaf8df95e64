#include "parallel/row_layout.h"

namespace retain {

RowLayout::RowLayout(int64_t rows, int rank, int size, int64_t chunks)
    : rows_(rows), padded_(padded_rows(rows, size)), rank_(rank), size_(size) {
  RETAIN_CHECK(rows > 0 && chunks > 0, rows, " rows in ", chunks, " chunks");
  if (size == 1) chunks = 1;  // nothing is exchanged
  chunk_rows_ = align_up((rows + chunks - 1) / chunks, size);
  chunks_ = (padded_ + chunk_rows_ - 1) / chunk_rows_;
}

}  // namespace retain
