#include "trainer/data/host_batch.h"

#include <algorithm>
#include <span>

namespace retain {
namespace {

/// Positions stably sorted by token, by counting.
void order_by_token(std::span<const int32_t> tokens, int64_t vocab_size, std::span<int32_t> order) {
  std::vector<int32_t> next(static_cast<size_t>(vocab_size) + 1, 0);  // where the next position of a token goes
  for (const int32_t token : tokens) ++next[static_cast<size_t>(token) + 1];
  for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
  for (size_t i = 0; i < tokens.size(); ++i) {
    order[static_cast<size_t>(next[static_cast<size_t>(tokens[i])]++)] = static_cast<int32_t>(i);
  }
}

/// Where tokens of a sequence lie in a batch.
class Places {
 public:
  explicit Places(const BatchLayout& layout)
      : layout_(layout), segment_(layout.segment()), tokens_(segment_ / layout.parts) {
    RETAIN_CHECK(segment_ % layout.parts == 0, "segments of ", segment_, " tokens over ", layout.parts, " ranks");
  }
  int64_t tokens() const { return tokens_; }  ///< T
  /// In carry [S, P, B].
  size_t carry(int64_t b, int64_t t) const {
    return static_cast<size_t>(t / tokens_ * layout_.sequences + b);  // parts follow one another, also across segments
  }
  bool here(int64_t t) const { return t % segment_ / tokens_ == layout_.part; }
  /// In [S, B, T], of a token that is here.
  size_t row(int64_t b, int64_t t) const {
    return static_cast<size_t>((t / segment_ * layout_.sequences + b) * tokens_ + t % tokens_);
  }

 private:
  const BatchLayout& layout_;
  int64_t segment_, tokens_;
};

}  // namespace

HostBatch make_batch(const BatchLayout& layout, const Windows& windows) {
  const int64_t window_tokens = layout.seq_len + 1;
  RETAIN_CHECK(static_cast<int64_t>(windows.tokens.size()) == layout.sequences * window_tokens, "got ",
               windows.tokens.size(), " tokens, want ", layout.sequences, "x", window_tokens);
  const Places places(layout);
  HostBatch batch;
  batch.sequences = layout.sequences;
  batch.segments = layout.segments();
  batch.tokens = places.tokens();
  batch.position_offset = layout.part * batch.tokens;
  const auto rows = static_cast<size_t>(batch.sequences * batch.tokens), all = batch.segments * rows;
  batch.token_ids.assign(all, 0);
  batch.targets.assign(all, kNoToken);
  batch.document_start.assign(all, 0);
  batch.token_order.assign(all, 0);
  batch.carry.assign(static_cast<size_t>(batch.segments * layout.parts * layout.sequences), 1.0F);

  for (int64_t b = 0; b < layout.sequences; ++b) {
    const int32_t* const tokens = windows.tokens.data() + b * window_tokens;
    const Border* const borders = windows.borders.data() + b * window_tokens;
    int64_t document_start = 0;
    for (int64_t t = 0; t < batch.segments * layout.segment(); ++t) {
      const bool inside = t < layout.seq_len;
      if (inside && (borders[t] == Border::kEndToken || borders[t] == Border::kIndex)) document_start = t;
      if (document_start == t) batch.carry[places.carry(b, t)] = 0.0F;
      const bool seen = inside && borders[t + 1] != Border::kIndex && borders[t + 1] != Border::kUnseen;
      const int32_t target = seen ? tokens[t + 1] : kNoToken;
      if (target >= 0) ++batch.valid_targets;
      if (!places.here(t)) continue;
      const size_t row = places.row(b, t);
      if (inside) batch.token_ids[row] = std::max(tokens[t], 0);
      batch.targets[row] = target;
      batch.document_start[row] = static_cast<int32_t>(document_start);
    }
  }
  for (size_t begin = 0; begin < all; begin += rows) {
    order_by_token(std::span(batch.token_ids).subspan(begin, rows), layout.vocab_size,
                   std::span(batch.token_order).subspan(begin, rows));
  }
  return batch;
}

}  // namespace retain
