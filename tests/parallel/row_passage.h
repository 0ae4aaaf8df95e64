// What chunks of rows go through between two parts of a model, as a check over any group and the backend whose memory
// it moves: terms of every rank are reduced into own rows, these are held, gathered, and read by all.
#pragma once

#include <gtest/gtest.h>

#include <array>

#include "parallel/sequence_parallel.h"
#include "tests/support/tensors.h"

namespace retain::test {

/// Element (row, column) of what a rank contributes: small integers, whose sums no order changes.
inline double row_term(int rank, int64_t row, int64_t column) {
  return static_cast<double>(((rank + 1) * (row + 2) + column * 5) % 17);
}

inline void check_row_passage(Backend& backend, Communicator& group, int64_t rows, int64_t width, int64_t chunks) {
  SCOPED_TRACE(concat(rows, " rows over ", group.size(), " ranks in ", chunks, " chunks, ", group.name()));
  const DType dtype = DType::kFloat32;
  const TensorParallel axis(group);
  const SequenceParallel sequence(backend, axis, rows, chunks);
  const RowLayout& layout = sequence.layout();
  Values mine, sums;
  for (int64_t i = 0; i < rows * width; ++i) {
    mine.push_back(row_term(group.rank(), i / width, i % width));
    sums.push_back(0);
    for (int rank = 0; rank < group.size(); ++rank) sums.back() += row_term(rank, i / width, i % width);
  }
  const DeviceTensor terms(backend, dtype, {rows, width}, mine), result(backend, dtype, {rows, width});
  const DeviceTensor whole(backend, dtype, {layout.own_rows() * group.size(), width});
  const DeviceTensor held(backend, dtype, {layout.own_rows(), width});

  const std::array<RowStage, 3> stages = {[&](int64_t chunk) {
                                            backend.copy(sequence.real(whole, chunk), sequence.real(terms, chunk));
                                            return sequence.begin_reduce(whole, chunk);
                                          },
                                          [&](int64_t chunk) {
                                            backend.copy(sequence.held(held, chunk), sequence.own(whole, chunk));
                                            return sequence.begin_gather(whole, chunk);
                                          },
                                          [&](int64_t chunk) {
                                            backend.copy(sequence.real(result, chunk), sequence.real(whole, chunk));
                                            return Pending{};
                                          }};
  sequence.run(stages);

  ASSERT_EQ(result.values(), sums);
  // Own rows are held chunk by chunk, and padding is zero.
  const Values kept = held.values();
  for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk) {
    for (int64_t i = 0; i < layout.own(chunk).size(); ++i) {
      const int64_t row = layout.own(chunk).begin + i, place = layout.held(chunk).begin + i;
      const double want = row < rows ? sums[static_cast<size_t>(row * width)] : 0;
      ASSERT_EQ(kept[static_cast<size_t>(place * width)], want) << "row " << row;
    }
  }
}

}  // namespace retain::test
