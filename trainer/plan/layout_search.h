// The legal ways to lay a run over GPUs, from the fastest that fits to the slowest.
#pragma once

#include <vector>

#include "trainer/plan/plan.h"
#include "trainer/plan/step_time.h"

namespace retain {

struct SearchSpace {
  int gpus = 1;
  int gpus_a_machine = 8;
  double network_bytes_per_second = 0;  ///< of a GPU to other machines, one direction
};

/// A mesh with a level of recompute and of ZeRO, and of its micro-batches that fit those with which it is fastest.
struct LayoutChoice {
  Config config;
  MeshShape mesh;
  int64_t needed_bytes = 0;  ///< of each GPU
  RunCost cost;
};

struct LayoutSearch {
  std::vector<LayoutChoice> choices;  ///< the fastest first; of those alike the one that needs least memory
  int64_t legal = 0, fitting = 0;     ///< how many were planned, micro-batches counted; and of these fit the GPU
  LayoutChoice smallest;              ///< what needs least of all legal ones, when none fits
};

/// Looks at every dp x cp x tp of so many GPUs, every level of recompute, ZeRO 1 and 2, and micro-batches of 1, 2, 4 …
/// sequences; all else is as the configuration says. Throws ConfigError(kConfig) with what is wrong where none is
/// legal.
LayoutSearch search_layouts(const Config& config, const SearchSpace& space, const Target& target, const Gpu& gpu);

/// "--set parallel.tp=2 --set …": the keys in which the choice differs from the configuration.
std::string changes_of(const LayoutChoice& choice, const Config& config);

}  // namespace retain
