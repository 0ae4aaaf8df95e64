// Where the ranks of a mesh stand, as a pure function of the names of their machines. A launcher may deal ranks to
// machines in any order: MpiEnvironment numbers them machine by machine, so that neighbours of the mesh, who exchange
// the most (tp, then cp), are neighbours there too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/topology.h"

namespace retain {

struct Machine {
  std::string host;
  std::vector<int> ranks;
};

struct Placement {
  MeshShape shape;
  std::vector<Machine> machines = {};  ///< in the order of their first ranks
  /// Whether some ranks that differ in this coordinate alone are on different machines.
  bool dp_crosses = false, cp_crosses = false, tp_crosses = false;

  /// "ranks on 2 machines; within a machine: tp; between machines: dp", then a line for each machine: "gpu1: ranks 0-7:
  /// dp 0, tp 0-3". Of many machines the first ones.
  std::vector<std::string> describe() const;
  /// Where groups of tp are cut although another legal number of tensor-parallel ranks would not be: what to do. Legal
  /// are the divisors of `tp_divides` (of the heads and the FFN's width). Empty where there is nothing to say.
  std::string warning(int64_t tp_divides) const;
};

/// hosts: the machine of every rank.
Placement place_ranks(const MeshShape& shape, const std::vector<std::string>& hosts);

}  // namespace retain
