// Which rows of an activation a rank of the tp axis holds, where ranks hold other rows of the same tokens. Pure
// arithmetic. The rows are cut into chunks, and every chunk evenly over the ranks:
//   whole [padded_rows]:  chunk 0: rank 0, rank 1, …;  chunk 1: rank 0, rank 1, …;  …
//   held [own_rows]:      this rank's part of chunk 0, of chunk 1, …
// so that a chunk is gathered or reduced by one collective that is contiguous on both sides. The last chunk may be
// shorter, and ends with as many rows of padding as make the ranks' parts equal; what is padding is zero.
#pragma once

#include "parallel/shard.h"

namespace retain {

class RowLayout {
 public:
  /// `rows` >= 1 over `size` ranks, of which this is `rank`, in at most `chunks` chunks. One rank has one chunk.
  RowLayout(int64_t rows, int rank, int size, int64_t chunks);

  /// What `size` ranks make of so many rows, whatever the chunks.
  static int64_t padded_rows(int64_t rows, int size) { return align_up(rows, size); }

  int64_t chunks() const { return chunks_; }
  int64_t padding() const { return padded_ - rows_; }
  int64_t own_rows() const { return padded_ / size_; }
  /// Rows of the whole that are no padding: all of them, and those of one chunk.
  Range real() const { return {0, rows_}; }
  Range real(int64_t chunk) const { return common(this->chunk(chunk), real()); }
  /// Rows of the whole that are a chunk, and those of them that are this rank's.
  Range chunk(int64_t i) const { return common({i * chunk_rows_, (i + 1) * chunk_rows_}, {0, padded_}); }
  Range own(int64_t i) const { return even_part(chunk(i), rank_, size_); }
  /// The same rows in a buffer of this rank's rows alone.
  Range held(int64_t i) const { return {chunk(i).begin / size_, chunk(i).end / size_}; }

 private:
  int64_t rows_, padded_, chunk_rows_, chunks_;
  int rank_, size_;
};

}  // namespace retain
