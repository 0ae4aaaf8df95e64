#include "trainer/data/host_batch.h"

#include <algorithm>

#include "parallel/shard.h"

namespace retain {
namespace {

/// Positions stably sorted by token, by counting.
std::vector<int32_t> order_by_token(std::span<const int32_t> tokens, int64_t vocab_size) {
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

HostBatch make_batch(const BatchLayout& layout, std::span<const int32_t> windows) {
  const int64_t window_tokens = layout.seq_len + 1;
  RETAIN_CHECK(static_cast<int64_t>(windows.size()) == layout.sequences * window_tokens, "got ", windows.size(),
               " tokens, want ", layout.sequences, "x", window_tokens);
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
    const auto window = windows.subspan(static_cast<size_t>(b * window_tokens), static_cast<size_t>(window_tokens));
    int64_t document_start = 0;
    for (int64_t t = 0; t < layout.seq_len; ++t) {
      const int32_t token = std::max(window[static_cast<size_t>(t)], 0);
      const bool ends_document =
          layout.reset_state_at_documents && window[static_cast<size_t>(t)] == layout.end_of_document;
      const int32_t target = ends_document ? kNoToken : window[static_cast<size_t>(t) + 1];
      if (document_start == t) {
        batch.carry[static_cast<size_t>(t / segment.size() * layout.sequences + b)] = 0.0F;
      }
      if (target >= 0) ++batch.valid_targets;
      if (t >= segment.begin && t < segment.end) {
        batch.token_ids.push_back(token);
        batch.targets.push_back(target);
        batch.document_start.push_back(static_cast<int32_t>(document_start));
      }
      if (ends_document) document_start = t + 1;
    }
  }
  batch.token_order = order_by_token(batch.token_ids, layout.vocab_size);
  return batch;
}

}  // namespace retain
