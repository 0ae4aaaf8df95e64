// One micro-batch in host memory, as the operations of the model want it: pure functions of the windows' tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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
  /// token starts a document.
  std::vector<float> carry;
  /// Targets that count, in the whole sequences (all P segments), so that replicas sum it over dp only.
  int64_t valid_targets = 0;
};

/// Where documents begin, as checkpoints keep it: a resume from one of another rule says so.
inline constexpr const char* kDocumentsBegin = "after their end token";

/// How windows become batches.
struct BatchLayout {
  int64_t sequences = 1, seq_len = 1;
  int64_t vocab_size = 0;
  int32_t end_of_document = 0;
  /// A token after end-of-document starts a document (with an empty state), and end-of-document predicts nothing. If
  /// false, a sequence is one document and predicts everything.
  bool reset_state_at_documents = true;
  int segments = 1, segment = 0;  ///< P of the cp axis, and this rank's
};

/// In a window, "no token here": the rest of a window that is shorter than the others.
inline constexpr int32_t kNoToken = -1;

/// windows [B, seq_len + 1]: tokens in [0, vocab_size), then kNoToken to the end of a short window. Missing inputs read
/// as token 0, missing targets are ignored.
HostBatch make_batch(const BatchLayout& layout, std::span<const int32_t> windows);

}  // namespace retain
