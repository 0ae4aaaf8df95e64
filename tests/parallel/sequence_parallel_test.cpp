#include "parallel/sequence_parallel.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/late_communicator.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

constexpr int64_t kWidth = 3;

/// What rank r contributes to element (row, column): sums of small integers, which no order changes.
double contribution(int rank, int64_t row, int64_t column) {
  return static_cast<double>(((rank + 1) * (row + 2) + column * 5) % 17);
}

/// Memory of rows × kWidth float64, all NaN.
struct Rows {
  std::vector<double> values;
  TensorView view;
  explicit Rows(int64_t rows)
      : values(static_cast<size_t>(rows * kWidth), std::numeric_limits<double>::quiet_NaN()),
        view(values.data(), DType::kFloat64, {rows, kWidth}) {}
  double& at(int64_t row, int64_t column) { return values[static_cast<size_t>(row * kWidth + column)]; }
};

/// Reduces a sum of all ranks' contributions, adds it to a stream of own rows, gathers that, and adds 1 to what came.
void check_passage(Communicator& group, int64_t rows, int64_t chunks) {
  SCOPED_TRACE(concat(rows, " rows over ", group.size(), " ranks in ", chunks, " chunks, ", group.name()));
  const auto backend = make_cpu_backend(1);
  const TensorParallel axis(group);
  const SequenceParallel sequence(*backend, axis, rows, chunks);
  const RowLayout& layout = sequence.layout();
  Rows whole(layout.own_rows() * group.size()), stream(layout.own_rows()), result(rows);

  const std::array<RowStage, 3> stages = {[&](int64_t chunk) {
                                            const Range real = layout.real(chunk);
                                            for (int64_t row = real.begin; row < real.end; ++row) {
                                              for (int64_t j = 0; j < kWidth; ++j)
                                                whole.at(row, j) = contribution(group.rank(), row, j);
                                            }
                                            return sequence.begin_reduce(whole.view, chunk);
                                          },
                                          [&](int64_t chunk) {
                                            backend->copy(sequence.held(stream.view, chunk),
                                                          sequence.own(whole.view, chunk));
                                            return sequence.begin_gather(whole.view, chunk);
                                          },
                                          [&](int64_t chunk) {
                                            const Range real = layout.real(chunk);
                                            for (int64_t row = real.begin; row < real.end; ++row) {
                                              for (int64_t j = 0; j < kWidth; ++j)
                                                result.at(row, j) = whole.at(row, j) + 1;
                                            }
                                            return Pending{};
                                          }};
  sequence.run(stages);

  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < kWidth; ++j) {
      double sum = 0;
      for (int rank = 0; rank < group.size(); ++rank) sum += contribution(rank, row, j);
      ASSERT_EQ(result.at(row, j), sum + 1) << "row " << row << ", column " << j;
    }
  }
  // Own rows are held chunk by chunk, and padding is zero.
  for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk) {
    for (int64_t i = 0; i < layout.own(chunk).size(); ++i) {
      const int64_t row = layout.own(chunk).begin + i, held = layout.held(chunk).begin + i;
      const double want = row < rows ? result.at(row, 0) - 1 : 0;
      ASSERT_EQ(stream.at(held, 0), want) << "held row " << held;
    }
  }
}

TEST(SequenceParallel, ReducesIntoOwnRowsAndGathersThem) {
  test::on_every_group([](Communicator& group) {
    for (const int64_t rows : {1, 5, 7, 13, 24}) {
      for (const int64_t chunks : {1, 2, 3, 4}) check_passage(group, rows, chunks);
    }
  });
}

TEST(SequenceParallel, UsesNothingBeforeItsExchangeIsDone) {
  test::on_every_group([](Communicator& group) {
    test::LateCommunicator late(group.split(0, group.rank()));
    for (const int64_t rows : {5, 13, 24}) {
      for (const int64_t chunks : {1, 3, 4}) check_passage(late, rows, chunks);
    }
  });
}

// Between a stage of a chunk and the next stage of the same chunk there is work on the others.
TEST(SequenceParallel, StagesOfDifferentChunksTakeTurns) {
  test::on_every_group([](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    const TensorParallel axis(group);
    const SequenceParallel sequence(*backend, axis, 3 * group.size(), 3);
    std::string order;
    const auto stage = [&](char name) {
      return [&order, name](int64_t chunk) {
        order += concat(name, chunk, ' ');
        return Pending{};
      };
    };
    const std::array<RowStage, 3> stages = {stage('a'), stage('b'), stage('c')};
    sequence.run(stages);
    EXPECT_EQ(order, group.size() == 1 ? "a0 b0 c0 " : "a0 a1 b0 a2 b1 c0 b2 c1 c2 ");
  });
}

}  // namespace
}  // namespace retain
