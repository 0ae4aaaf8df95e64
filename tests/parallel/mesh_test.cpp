// One source for threads and for MPI.
#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/ranks.h"

namespace retain {
namespace {

std::vector<int32_t> members(Communicator& axis, int world_rank) {
  std::vector<int32_t> ranks(static_cast<std::size_t>(axis.size()));
  ranks[static_cast<std::size_t>(axis.rank())] = world_rank;
  const TensorView all(ranks.data(), DType::kInt32, {axis.size()});
  axis.all_gather(all, all.slice(0, axis.rank(), 1)).wait();
  return ranks;
}

void check_mesh(const MeshShape& shape, Communicator& world) {
  Mesh mesh(shape, world.split(0, world.rank()));
  const MeshCoordinate at = coordinate_of(shape, world.rank());
  std::vector<int32_t> tp, cp, replicas;
  for (int r = 0; r < shape.ranks(); ++r) {
    const MeshCoordinate other = coordinate_of(shape, r);
    if (other.dp == at.dp && other.cp == at.cp) tp.push_back(r);
    if (other.dp == at.dp && other.tp == at.tp) cp.push_back(r);
    if (other.tp == at.tp) replicas.push_back(r);
  }
  EXPECT_EQ(mesh.world_rank(), world.rank());
  EXPECT_EQ(members(mesh.tp(), world.rank()), tp) << shape.describe();
  EXPECT_EQ(members(mesh.cp(), world.rank()), cp) << shape.describe();
  EXPECT_EQ(members(mesh.replicas(), world.rank()), replicas) << shape.describe();
  EXPECT_EQ(mesh.tp().rank(), at.tp);
  EXPECT_EQ(mesh.cp().rank(), at.cp);
  EXPECT_EQ(mesh.replicas().rank(), at.dp * shape.cp + at.cp);
}

TEST(Mesh, EachAxisJoinsTheRanksThatDifferInItAlone) {
  test::on_every_group([](Communicator& world) {
    for (int dp = 1; dp <= world.size(); ++dp) {
      for (int cp = 1; dp * cp <= world.size(); ++cp) {
        const MeshShape shape{dp, cp, world.size() / (dp * cp)};
        if (shape.ranks() == world.size()) check_mesh(shape, world);
      }
    }
  });
}

TEST(Mesh, AShapeThatDoesNotFitTheWorldIsRefused) {
  test::on_every_group([](Communicator& world) {
    const MeshShape shape{world.size(), 2, 1};
    EXPECT_THROW(Mesh(shape, world.split(0, 0)), Error);
  });
}

TEST(Mesh, ASingleRankHasSelfOnEveryAxis) {
  const auto mesh = make_single_mesh();
  EXPECT_STREQ(mesh->tp().name(), "self");
  EXPECT_STREQ(mesh->cp().name(), "self");
  EXPECT_STREQ(mesh->replicas().name(), "self");
}

}  // namespace
}  // namespace retain
