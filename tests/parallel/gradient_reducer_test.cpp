// One source for threads and for MPI.
#include "parallel/gradient_reducer.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/ranks.h"

namespace retain {
namespace {

constexpr int64_t kPerRank = 300;

TEST(GradientReducer, BothLevelsOfZeroUpdateTheSameWeights) {
  test::on_every_group([](Communicator& replicas) {
    const int64_t n = kPerRank * replicas.size();
    std::vector<std::vector<float>> weights;
    for (const int zero : {0, 1}) {
      const GradientReducer reducer(replicas, zero);
      std::vector<float> gradient(static_cast<std::size_t>(n)), weight(gradient.size());
      for (int64_t i = 0; i < n; ++i) {
        gradient[static_cast<std::size_t>(i)] =
            0.1F * static_cast<float>(i) + 0.7F * static_cast<float>(replicas.rank());
        weight[static_cast<std::size_t>(i)] = static_cast<float>(i);
      }
      reducer.reduce(TensorView(gradient.data(), DType::kFloat32, {n}));
      const Range own = reducer.shard(n);
      EXPECT_EQ(own.size(), zero == 0 ? n : kPerRank);
      for (int64_t i = own.begin; i < own.end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const int ranks = replicas.size();
        EXPECT_NEAR(gradient[at], 0.1 * ranks * static_cast<double>(i) + 0.35 * ranks * (ranks - 1), 1e-3 * ranks);
        weight[at] -= 0.01F * gradient[at];
      }
      reducer.gather(TensorView(weight.data(), DType::kFloat32, {n}));
      weights.push_back(weight);
    }
    EXPECT_EQ(weights[0], weights[1]) << "to the last bit";
  });
}

TEST(GradientReducer, ShardsTileTheBufferOverTheReplicas) {
  test::on_every_group([](Communicator& replicas) {
    const Range own = GradientReducer(replicas, 1).shard(kPerRank * replicas.size());
    EXPECT_EQ(own.begin, kPerRank * replicas.rank());
    EXPECT_EQ(own.size(), kPerRank);
  });
}

TEST(GradientReducer, ABufferThatTheReplicasDoNotDivideIsRefused) {
  test::on_every_group([](Communicator& replicas) {
    if (replicas.size() == 1) return;
    std::vector<float> gradient(static_cast<std::size_t>(replicas.size() + 1));
    EXPECT_THROW(
        GradientReducer(replicas, 1).reduce(TensorView(gradient.data(), DType::kFloat32, {replicas.size() + 1})),
        Error);
  });
}

TEST(GradientReducer, RefusesOtherLevels) {
  const auto self = make_self_communicator();
  EXPECT_THROW(GradientReducer(*self, 2), Error);
}

}  // namespace
}  // namespace retain
