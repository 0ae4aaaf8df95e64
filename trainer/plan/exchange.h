// What ranks send and receive in one step, by purpose and by the kind of link, as pure functions of the plan's sizes
// and of the machine that each rank is on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/topology.h"
#include "trainer/config.h"
#include "trainer/data/dealing.h"

namespace retain {

/// The ranks that a collective is among.
enum class MeshAxis : uint8_t { kTp, kCp, kReplicas };

/// What the collectives of one purpose move in a step: of every collective a rank sends (p - 1)/p of its whole buffer,
/// twice that for an all-reduce, and receives as much, whether blocks go round a ring (NCCL) or from each to each
/// (MPI).
struct Traffic {
  std::string name;  ///< "tp activations", "cp states", "gradients", "weights"
  MeshAxis axis = MeshAxis::kReplicas;
  int64_t bytes_a_pass = 0;   ///< with each micro-batch that the rank has
  int64_t bytes_a_round = 0;  ///< with each round of micro-batches, whether it has one or not
  int64_t bytes_a_step = 0;   ///< once
};

/// Bytes over links inside a machine (NVLink, PCIe, shared memory) and between machines.
struct LinkBytes {
  int64_t inside = 0, between = 0;
  int64_t all() const { return inside + between; }
};

struct Exchange {
  std::string name;
  LinkBytes sent, received;
};

struct RankExchanges {
  int rank = 0;
  int64_t machines = 1;  ///< of all ranks
  std::vector<Exchange> parts;
};

/// Machines of so many ranks, filled one after the other: the machine of every rank.
std::vector<int> machines_of(int ranks, int ranks_a_machine);

/// What the rank exchanges that has the most between machines, and of these the most in all; of equals the first. With
/// `ring`, blocks go round the machines of a group, which share the links between them (NCCL); else they go from each
/// to each. machine_of: of every rank of the mesh.
RankExchanges busiest_exchanges(const std::vector<Traffic>& traffic, const MeshShape& mesh, const Dealing& dealing,
                                const std::vector<int>& machine_of, bool ring);

/// a · b · … of sizes that come from a configuration. Throws ConfigError(kConfig) where 64 bits do not hold it.
int64_t checked_product(std::initializer_list<int64_t> sizes);

}  // namespace retain
