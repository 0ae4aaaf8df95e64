#include "parallel/topology.h"

#include "kernels/core/error.h"

namespace retain {

std::string MeshShape::describe() const { return concat("dp=", dp, " cp=", cp, " tp=", tp); }

std::vector<MeshShape> meshes_of(int ranks) {
  std::vector<MeshShape> meshes;
  for (int dp = 1; dp <= ranks; ++dp) {
    for (int cp = 1; dp * cp <= ranks; ++cp) {
      if (ranks % (dp * cp) == 0) meshes.push_back({dp, cp, ranks / (dp * cp)});
    }
  }
  return meshes;
}

MeshCoordinate coordinate_of(const MeshShape& shape, int world_rank) {
  RETAIN_CHECK(world_rank >= 0 && world_rank < shape.ranks(), "rank ", world_rank, " of ", shape.describe());
  return {world_rank / (shape.tp * shape.cp), world_rank / shape.tp % shape.cp, world_rank % shape.tp};
}

}  // namespace retain
