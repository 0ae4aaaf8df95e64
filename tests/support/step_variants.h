// What training can be like from step to step: of tests that compare two ways to go through the same steps.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/config.h"

namespace retain::test {

/// Bit patterns, so that results without a number are equal too.
using Bits = std::vector<uint64_t>;

/// A change of the tiny run's configuration.
struct StepVariant {
  const char* name;
  std::function<void(Config&)> change;
};

inline std::vector<StepVariant> step_variants() {
  return {{"four micro-batches of documents", [](Config&) {}},
          {"one micro-batch", [](Config& c) { c.train.micro_batch_tokens = c.train.batch_tokens; }},
          {"segments",
           [](Config& c) {
             c.train.recompute = Recompute::kSegment;
             c.train.segment_tokens = 16;
           }},
          {"one document a sequence, weights tied, computed again",
           [](Config& c) {
             c.data.reset_state_at_documents = false;
             c.model.tie_embeddings = true;
             c.train.recompute = Recompute::kFull;
           }},
          {"gradients that are not finite from some step on", [](Config& c) {
             c.optimizer.lr = 1e30;
             c.optimizer.clip = 0;
             c.schedule.warmup_steps = 1;
           }}};
}

}  // namespace retain::test
