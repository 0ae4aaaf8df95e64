// One micro-batch in host memory, as the operations of the model want it: pure functions of the windows' tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/documents.h"

namespace retain {

/// One micro-batch of one data-parallel replica: its sequences cut into segments, one after the other in time, and of
/// each segment this rank's part.
struct HostBatch {
  int64_t sequences = 0;        ///< B
  int64_t segments = 1;         ///< S
  int64_t tokens = 0;           ///< T: of a sequence's segment, on this rank
  int64_t position_offset = 0;  ///< of the first token in the sequence; in segment s, s · T · P more

  // [S, B, T], row-major
  std::vector<int32_t> token_ids;
  std::vector<int32_t> targets;         ///< the next token, or -1: ignored
  std::vector<int32_t> document_start;  ///< position in the sequence at which the token's document starts
  std::vector<int32_t> token_order;     ///< of each segment: the positions 0 … B·T−1 stably sorted by token

  /// [S, P, B], for SegmentScanArgs: 1 when no document starts inside part p of the segment, else 0. A sequence's first
  /// token starts with an empty state, whatever it is.
  std::vector<float> carry;
  /// Targets that count, in the whole sequences (all segments and parts), so that replicas sum it over dp only.
  int64_t valid_targets = 0;
};

/// How windows become batches.
struct BatchLayout {
  int64_t sequences = 1, seq_len = 1;
  int64_t vocab_size = 0;
  int parts = 1, part = 0;     ///< P of the cp axis, and this rank's
  int64_t segment_tokens = 0;  ///< P divides it; 0: of the whole sequence

  int64_t segment() const { return segment_tokens > 0 ? segment_tokens : seq_len; }  ///< tokens
  int64_t segments() const { return (seq_len + segment() - 1) / segment(); }         ///< S
};

/// In a window, "no token here": the rest of a window that is shorter than the others.
inline constexpr int32_t kNoToken = -1;

/// Windows of tokens [B, seq_len + 1]: tokens in [0, vocab_size), then kNoToken to the end of a short window.
struct Windows {
  explicit Windows(int64_t tokens_in_all)
      : tokens(static_cast<size_t>(tokens_in_all), kNoToken), borders(tokens.size(), Border::kNone) {}
  std::vector<int32_t> tokens;
  std::vector<Border> borders;  ///< what each token is; of a window's first it does not matter
};

/// A token at a border starts its document; one at a border of the index, or unseen, is nobody's target. Missing inputs
/// read as token 0, missing targets are ignored; with such a last segment is filled up.
HostBatch make_batch(const BatchLayout& layout, const Windows& windows);

}  // namespace retain
