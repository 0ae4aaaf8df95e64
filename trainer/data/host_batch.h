// One micro-batch in host memory, as the operations of the model want it: pure functions of the windows' tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/data/documents.h"

namespace retain {

/// One micro-batch of one data-parallel replica: this rank's segment of each sequence.
struct HostBatch {
  int64_t sequences = 0;        ///< B
  int64_t tokens = 0;           ///< T: of a sequence, on this rank
  int64_t position_offset = 0;  ///< of the segment's first token in the sequence

  // [B, T], row-major
  std::vector<int32_t> token_ids;
  std::vector<int32_t> targets;         ///< the next token, or -1: ignored
  std::vector<int32_t> document_start;  ///< position in the sequence at which the token's document starts
  std::vector<int32_t> token_order;     ///< the positions 0 … B·T−1 stably sorted by token

  /// [P, B] of SegmentScanArgs: 1 when no document starts inside segment p of the sequence, else 0. A sequence's first
  /// token starts with an empty state, whatever it is.
  std::vector<float> carry;
  /// Targets that count, in the whole sequences (all P segments), so that replicas sum it over dp only.
  int64_t valid_targets = 0;
};

/// How windows become batches.
struct BatchLayout {
  int64_t sequences = 1, seq_len = 1;
  int64_t vocab_size = 0;
  int segments = 1, segment = 0;  ///< P of the cp axis, and this rank's
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

/// A token at a border starts its document; one at a border of the index is nobody's target. Missing inputs read as
/// token 0, missing targets are ignored.
HostBatch make_batch(const BatchLayout& layout, const Windows& windows);

}  // namespace retain
