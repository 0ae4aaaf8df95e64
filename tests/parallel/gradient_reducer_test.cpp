// One source for threads and for MPI.
#include "parallel/gradient_reducer.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/ranks.h"

namespace retain {
namespace {

constexpr int64_t kPerRank = 300;

Mesh mesh_of(Communicator& world, const MeshShape& shape) { return Mesh(shape, world.split(0, world.rank())); }

// A buffer of kPerRank elements a replica as one bucket, and as three uneven ones.
std::vector<std::vector<Range>> cuts(int replicas) {
  const int64_t n = kPerRank * replicas;
  return {{{0, n}}, {{0, 7 * replicas}, {7 * replicas, 207 * replicas}, {207 * replicas, n}}};
}

TensorView part_of(std::vector<float>& values, Range range) {
  return TensorView(values.data() + range.begin, DType::kFloat32, {range.size()});
}

TEST(GradientReducer, EveryLevelOfZeroAndCutUpdatesTheSameWeights) {
  test::on_every_group([](Communicator& world) {
    Mesh mesh = mesh_of(world, {.dp = world.size()});
    const int64_t n = kPerRank * world.size();
    const int ranks = world.size();
    std::vector<std::vector<float>> weights;
    for (const std::vector<Range>& buckets : cuts(ranks)) {
      for (const int zero : {0, 1, 2}) {
        const GradientReducer reducer(mesh, buckets, zero);
        EXPECT_EQ(reducer.share().size(), kPerRank);
        EXPECT_EQ(reducer.updated().size(), zero == 0 ? n : kPerRank);
        std::vector<float> gradient(static_cast<std::size_t>(n)), weight(gradient.size());
        for (int64_t i = 0; i < n; ++i) {
          gradient[static_cast<std::size_t>(i)] =
              0.1F * static_cast<float>(i) + 0.7F * static_cast<float>(world.rank());
          weight[static_cast<std::size_t>(i)] = static_cast<float>(i);
        }
        std::vector<Pending> under_way;
        for (const Range& bucket : buckets) {
          const Range own = even_part(bucket, mesh.replicas().rank(), ranks);
          under_way.push_back(reducer.begin_reduce(part_of(gradient, bucket), part_of(gradient, own)));
        }
        for (Pending& pending : under_way) pending.wait();
        for (const SharePiece& piece : reducer.updated().pieces()) {
          for (int64_t i = piece.flat.begin; i < piece.flat.end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            EXPECT_NEAR(gradient[at], 0.1 * ranks * static_cast<double>(i) + 0.35 * ranks * (ranks - 1), 1e-3 * ranks);
            weight[at] -= 0.01F * gradient[at];
          }
        }
        for (const Range& bucket : buckets) reducer.begin_gather(part_of(weight, bucket)).wait();
        weights.push_back(weight);
        EXPECT_EQ(weights.back(), weights.front())
            << buckets.size() << " buckets, zero = " << zero << ", to the last bit";
      }
    }
  });
}

TEST(GradientReducer, LeavesTheSumInMemoryBesideTheBucket) {
  test::on_every_group([](Communicator& world) {
    if (world.size() == 1) return;  // keeps all gradients: the sum takes their place
    Mesh mesh = mesh_of(world, {.dp = world.size()});
    const int64_t n = kPerRank * world.size();
    const GradientReducer reducer(mesh, {{0, n}}, 2);
    EXPECT_EQ(reducer.kept(), GradientsKept::kUpdated);
    std::vector<float> gradient(static_cast<std::size_t>(n), static_cast<float>(world.rank() + 1)), own(kPerRank);
    reducer.begin_reduce(part_of(gradient, {0, n}), part_of(own, {0, kPerRank})).wait();
    const auto sum = static_cast<float>(world.size() * (world.size() + 1)) / 2;
    EXPECT_EQ(own, std::vector<float>(kPerRank, sum));
  });
}

TEST(GradientReducer, GathersSharesFromTheirOwnersWhateverIsUpdated) {
  test::on_every_group([](Communicator& world) {
    Mesh mesh = mesh_of(world, {.dp = world.size()});
    for (const std::vector<Range>& buckets : cuts(world.size())) {
      const GradientReducer reducer(mesh, buckets, 0);
      std::vector<float> values(static_cast<std::size_t>(kPerRank * world.size()), -1), want;
      for (const SharePiece& piece : reducer.share().pieces()) {
        std::fill_n(values.begin() + piece.flat.begin, piece.size(), static_cast<float>(world.rank()));
      }
      for (const Range& bucket : buckets) {
        for (int rank = 0; rank < world.size(); ++rank) {
          want.insert(want.end(), static_cast<std::size_t>(bucket.size() / world.size()), static_cast<float>(rank));
        }
      }
      reducer.gather_shares(TensorView(values.data(), DType::kFloat32, {kPerRank * world.size()}));
      EXPECT_EQ(values, want);
    }
  });
}

TEST(GradientReducer, ABufferThatTheReplicasDoNotDivideIsRefused) {
  test::on_every_group([](Communicator& world) {
    if (world.size() == 1) return;
    Mesh mesh = mesh_of(world, {.dp = world.size()});
    EXPECT_THROW(GradientReducer(mesh, {{0, world.size() + 1}}, 1), Error);
  });
}

TEST(GradientReducer, RefusesABufferThatItsBucketsDoNotCover) {
  const auto mesh = make_single_mesh();
  std::vector<float> values(5);
  const GradientReducer reducer(*mesh, {{0, 4}}, 1);
  EXPECT_THROW(reducer.gather_shares(TensorView(values.data(), DType::kFloat32, {5})), Error);
}

TEST(GradientReducer, RefusesOtherLevels) {
  const auto mesh = make_single_mesh();
  EXPECT_THROW(GradientReducer(*mesh, {{0, 4}}, 3), Error);
}

}  // namespace
}  // namespace retain
