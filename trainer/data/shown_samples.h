// What a step reads, for people to look at: the rows of the batches that training gets, with the place of each in its
// set.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/loader.h"

namespace retain {

/// A token as the model is given it.
struct ShownToken {
  int64_t position = 0;  ///< in the sample
  int32_t token = 0;
  int32_t target = kNoToken;  ///< kNoToken: masked, nothing is learned here
  bool reset = false;         ///< the state is empty before this token

  bool operator==(const ShownToken&) const = default;
};

struct ShownSample {
  int64_t number = 0;  ///< in the run
  int64_t micro_batch = 0, sequence = 0;
  Sample place = {};
  std::vector<ShownToken> tokens = {};  ///< of a rank of cp its part
};

/// The samples of a micro-batch of the loader's rank, in the step that begins with this sample: what load_from() gives.
std::vector<ShownSample> show_samples(TrainLoader& loader, int64_t first_sample, int64_t micro_batch);

}  // namespace retain
