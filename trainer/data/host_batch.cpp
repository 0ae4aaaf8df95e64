#include "trainer/data/host_batch.h"

#include <algorithm>

#include "parallel/shard.h"

namespace retain {
namespace {

/// Positions stably sorted by token, by counting.
std::vector<int32_t> order_by_token(const std::vector<int32_t>& tokens, int64_t vocab_size) {
  std::vector<int32_t> next(static_cast<size_t>(vocab_size) + 1, 0);  // where the next position of a token goes
  for (const int32_t token : tokens) ++next[static_cast<size_t>(token) + 1];
  for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
  std::vector<int32_t> order(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    order[static_cast<size_t>(next[static_cast<size_t>(tokens[i])]++)] = static_cast<int32_t>(i);
  }
  return order;
}

}  // namespace

HostBatch make_batch(const BatchLayout& layout, const Windows& windows) {
  const int64_t window_tokens = layout.seq_len + 1;
  RETAIN_CHECK(static_cast<int64_t>(windows.tokens.size()) == layout.sequences * window_tokens, "got ",
               windows.tokens.size(), " tokens, want ", layout.sequences, "x", window_tokens);
  const Range segment = even_shard(layout.seq_len, layout.segment, layout.segments);
  HostBatch batch;
  batch.sequences = layout.sequences;
  batch.tokens = segment.size();
  batch.position_offset = segment.begin;
  const auto local = static_cast<size_t>(batch.sequences * batch.tokens);
  batch.token_ids.reserve(local);
  batch.targets.reserve(local);
  batch.document_start.reserve(local);
  batch.carry.assign(static_cast<size_t>(layout.segments * layout.sequences), 1.0F);

  for (int64_t b = 0; b < layout.sequences; ++b) {
    const int32_t* const tokens = windows.tokens.data() + b * window_tokens;
    const Border* const borders = windows.borders.data() + b * window_tokens;
    int64_t document_start = 0;
    for (int64_t t = 0; t < layout.seq_len; ++t) {
      if (borders[t] != Border::kNone) document_start = t;
      if (document_start == t) {
        batch.carry[static_cast<size_t>(t / segment.size() * layout.sequences + b)] = 0.0F;
      }
      const int32_t target = borders[t + 1] == Border::kIndex ? kNoToken : tokens[t + 1];
      if (target >= 0) ++batch.valid_targets;
      if (t < segment.begin || t >= segment.end) continue;
      batch.token_ids.push_back(std::max(tokens[t], 0));
      batch.targets.push_back(target);
      batch.document_start.push_back(static_cast<int32_t>(document_start));
    }
  }
  batch.token_order = order_by_token(batch.token_ids, layout.vocab_size);
  return batch;
}

}  // namespace retain
