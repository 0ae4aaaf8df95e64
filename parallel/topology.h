// Pure rank arithmetic of the mesh dp × cp × tp: no communication, no device.
#pragma once

#include <string>
#include <vector>

namespace retain {

/// Sizes of the axes: data parallel (batch), context parallel (one sequence), tensor parallel (heads, FFN columns).
struct MeshShape {
  int dp = 1, cp = 1, tp = 1;
  int ranks() const { return dp * cp * tp; }
  std::string describe() const;  ///< "dp=2 cp=1 tp=4"
};

/// A rank's place: tp varies fastest, then cp, then dp, so that tp neighbours share a node.
struct MeshCoordinate {
  int dp = 0, cp = 0, tp = 0;
};

/// Every mesh of so many ranks, whatever a model allows; by dp, then cp.
std::vector<MeshShape> meshes_of(int ranks);

MeshCoordinate coordinate_of(const MeshShape& shape, int world_rank);

}  // namespace retain
