#include "trainer/data/shown_samples.h"

namespace retain {

std::vector<ShownSample> show_samples(TrainLoader& loader, int64_t first_sample, int64_t micro_batch) {
  const HostBatch batch = loader.load_from(first_sample, micro_batch);
  std::vector<ShownSample> shown;
  for (int64_t b = 0; b < batch.sequences; ++b) {
    const int64_t number = loader.sample_number(first_sample, micro_batch, b);
    ShownSample& sample = shown.emplace_back(
        ShownSample{.number = number, .micro_batch = micro_batch, .sequence = b, .place = loader.sample(number)});
    for (int64_t s = 0; s < batch.segments; ++s) {
      for (int64_t t = 0; t < batch.tokens; ++t) {
        const int64_t position = batch.position_offset + s * batch.tokens * loader.cp() + t;
        if (position >= loader.seq_len()) break;  // the last segment is filled up
        const auto i = static_cast<size_t>((s * batch.sequences + b) * batch.tokens + t);
        sample.tokens.push_back({.position = position,
                                 .token = batch.token_ids[i],
                                 .target = batch.targets[i],
                                 .reset = batch.document_start[i] == position});
      }
    }
  }
  return shown;
}

}  // namespace retain
