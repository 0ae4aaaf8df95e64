// How the micro-batches of a step are dealt to the replicas: number j to replica j mod dp, evenly or not. What a step
// computes does not depend on it, since the loss is divided by the targets of the whole batch; what it takes does.
#pragma once

#include <cstdint>
#include <string>

namespace retain {

struct Dealing {
  int64_t micro_batches = 1;  ///< of a step, on all replicas; at least as many as these
  int64_t replicas = 1;

  int64_t of(int64_t replica) const { return (micro_batches - replica + replicas - 1) / replicas; }
  /// The most that one replica has: a step takes as long as these.
  int64_t rounds() const { return of(0); }
  /// Of all replicas' time in a step, the part in which one waits without a micro-batch.
  double idle() const {
    return 1 - static_cast<double>(micro_batches) / (static_cast<double>(rounds()) * static_cast<double>(replicas));
  }
  /// "16 micro-batches over 3 replicas: 6 + 5 + 5, 11 % of the time idle"
  std::string describe() const;
};

}  // namespace retain
