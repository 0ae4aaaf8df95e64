#include "parallel/sequence_parallel.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "tests/parallel/row_passage.h"
#include "tests/support/late_communicator.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

TEST(SequenceParallel, ReducesIntoOwnRowsAndGathersThem) {
  test::on_every_group([](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    for (const int64_t rows : {1, 5, 7, 13, 24}) {
      for (const int64_t chunks : {1, 2, 3, 4}) test::check_row_passage(*backend, group, rows, 3, chunks);
    }
  });
}

TEST(SequenceParallel, UsesNothingBeforeItsExchangeIsDone) {
  test::on_every_group([](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    test::LateCommunicator late(group.split(0, group.rank()));
    for (const int64_t rows : {5, 13, 24}) {
      for (const int64_t chunks : {1, 3, 4}) test::check_row_passage(*backend, late, rows, 3, chunks);
    }
  });
}

// Between a stage of a chunk and the next stage of the same chunk there is work on the others.
TEST(SequenceParallel, StagesOfDifferentChunksTakeTurns) {
  test::on_every_group([](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    const TensorParallel axis(group);
    const SequenceParallel sequence(*backend, axis, int64_t{3} * group.size(), 3);
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
