// The log-likelihoods of texts behind contexts. Texts lie one behind the other in a few long sequences, in which each
// begins with an empty state, as documents do: nothing is padded, and their lengths are no matter.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/model/mesh_model.h"

namespace retain {

/// The tokens of a context and of what follows it, which are scored, each by what is before it.
struct ScoredText {
  std::vector<int32_t> tokens;
  size_t first = 1;  ///< of those that are scored; at least 1
};

struct TextScore {
  double log_likelihood = 0;  ///< nats, summed over the scored tokens
  bool greedy = true;         ///< no other token was likelier than one of them; where that is asked for
};

/// `context` and `continuation` as tokens. As lm-evaluation-harness does it, both are encoded as one text, and blanks
/// at the context's end belong to the continuation; an empty context becomes `beginning`, with which documents begin.
/// Throws Error(kData) where there is none, or nothing to score: fewer than two tokens.
ScoredText encode_pair(const Tokenizer& tokenizer, std::string context, std::string continuation,
                       std::optional<int32_t> beginning);
/// A whole text behind `beginning`.
ScoredText encode_document(const Tokenizer& tokenizer, const std::string& text, std::optional<int32_t> beginning);

/// Where a text lies in a sequence.
struct TextPlace {
  size_t text = 0;
  int64_t begin = 0;  ///< a token of the sequence
};
/// Puts the texts, the longest first, into sequences of so many tokens, which each of them fits into.
std::vector<std::vector<TextPlace>> pack_texts(std::span<const ScoredText> texts, int64_t sequence_tokens);

/// The shape of batches that are fit for these texts on a mesh.
BatchShape shape_for(std::span<const ScoredText> texts, const MeshShape& mesh);

/// Scores of texts that fit the model's sequences (shape_for). Collective over the mesh; all ranks get the same.
std::vector<TextScore> score_texts(MeshModel& on, std::span<const ScoredText> texts, RetentionForm form,
                                   bool looks_whether_greedy);

}  // namespace retain
