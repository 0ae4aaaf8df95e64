#include "trainer/data/dealing.h"

#include <fmt/core.h>

namespace retain {

namespace {

constexpr int64_t kMostListed = 8;  // replicas, one by one

}  // namespace

std::string Dealing::describe() const {
  const int64_t least = micro_batches / replicas, longer = micro_batches % replicas;
  std::string text = fmt::format("{} micro-batches over {} replicas: ", micro_batches, replicas);
  if (longer == 0) return text + fmt::format("{} each", least);
  if (replicas > kMostListed) {
    text += fmt::format("{} on {} and {} on {}", least + 1, longer, least, replicas - longer);
  } else {
    for (int64_t replica = 0; replica < replicas; ++replica)
      text += fmt::format("{}{}", replica == 0 ? "" : " + ", of(replica));
  }
  return text + fmt::format(", {:.0f} % of the time idle", 100 * idle());
}

}  // namespace retain
