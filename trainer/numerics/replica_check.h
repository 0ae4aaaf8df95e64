// Replicas hold the same weights, to the last bit, and so do the ranks of tp of the norms. A check compares
// fingerprints, which devices compute: what differs was changed by a sick device or memory, and is found before it is
// saved.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/model/parameters.h"

namespace retain {

class ReplicaCheck {
 public:
  /// Of the device, by the code that takes them.
  static int64_t memory_bytes(const ParameterLayout& layout);

  /// All outlive it.
  ReplicaCheck(Backend& backend, Mesh& mesh, const ParameterStore& parameters);

  /// After a step, with all steps finished. Compares the weights, bucket by bucket, over the replicas, and with ZeRO 0
  /// master weights and moments; and the norms' weights over all ranks. Exchanges 16 bytes for each rank of tp, and
  /// more where something differs: then it throws Error(kData) on every rank, naming bucket and ranks, the odd ones
  /// where three or more can tell. Waits for the device. Collective.
  void run(int64_t step);

 private:
  /// What is compared: a view, and what people call it.
  struct Compared {
    TensorView x;
    std::string name;
    bool over_tp = false;
  };
  void list_compared();
  std::vector<uint64_t> fingerprints();
  bool all_agree(const std::vector<uint64_t>& mine);
  [[noreturn]] void refuse(int64_t step, const std::vector<uint64_t>& mine);

  Backend& backend_;
  Mesh& mesh_;
  const ParameterStore& parameters_;
  Buffer buffer_;
  TensorView sums_;  ///< int32 [most that are compared, 2]
  std::vector<Compared> compared_;
};

/// Who holds something else than others that should hold the same.
struct OddRanks {
  std::vector<int> odd;  ///< world ranks: those outside of the majority, or, where there is none, all
  size_t others = 0;     ///< the majority; 0 where there is none
};
/// Of the values of some ranks, which should be equal; nothing when they are. Pure.
std::optional<OddRanks> find_odd_ranks(const std::vector<std::pair<int, uint64_t>>& values_of_ranks);

}  // namespace retain
