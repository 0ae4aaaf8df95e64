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
  std::vector<int> gpus = {};  ///< of these ranks; -1: none, or one without a number
};

struct Placement {
  MeshShape shape;
  std::vector<Machine> machines = {};  ///< in the order of their first ranks
  /// Whether some ranks that differ in this coordinate alone are on different machines.
  bool dp_crosses = false, cp_crosses = false, tp_crosses = false;

  /// "ranks on 2 machines; within a machine: tp; between machines: dp", then a line for each machine: "gpu1: ranks 0-7:
  /// dp 0, tp 0-3, GPUs 0-7". Of many machines the first ones.
  std::vector<std::string> describe() const;
  /// Where groups of tp are cut: what that costs, and which legal number of tensor-parallel ranks would not be. Legal
  /// are the divisors of `tp_divides` (of the heads and the FFN's width). Empty where none is cut.
  std::string warning(int64_t tp_divides) const;
};

/// hosts: the machine of every rank; gpus: the number of its GPU there, or -1, where that is known.
Placement place_ranks(const MeshShape& shape, const std::vector<std::string>& hosts, const std::vector<int>& gpus = {});
/// "0-3, 8"
std::string ranges(std::vector<int> numbers);

}  // namespace retain
