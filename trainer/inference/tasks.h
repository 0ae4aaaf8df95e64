// What a model is worth at public tasks, with the definitions of lm-evaluation-harness: choices by their likelihood,
// last words, and the perplexity of documents.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/inference/scored_texts.h"
#include "trainer/inference/task_files.h"

namespace retain {

/// A mean over questions and its standard error: the sample's deviation / √n; NaN of a single one.
struct Estimate {
  double value = 0, standard_error = 0;
};
Estimate mean_of(const std::vector<double>& values);

/// One choice after the other, each behind its context and a blank.
std::vector<ScoredText> encode_questions(const Tokenizer& tokenizer, const std::vector<Question>& questions,
                                         std::optional<int32_t> beginning);
struct ChoicesResult {
  int64_t questions = 0;
  Estimate acc;        ///< how often the right choice has the largest log-likelihood
  Estimate acc_norm;   ///< … divided by the characters of the choice: the harness' acc_norm
  Estimate acc_bytes;  ///< … divided by its bytes
};
/// Where two are equal the first counts.
ChoicesResult judge_choices(const std::vector<Question>& questions, std::span<const TextScore> scores);

std::vector<ScoredText> encode_last_words(const Tokenizer& tokenizer, const std::vector<LastWord>& texts,
                                          std::optional<int32_t> beginning);
struct LastWordsResult {
  int64_t texts = 0;
  Estimate acc;         ///< how often no token is likelier than each of the word's
  Estimate perplexity;  ///< exp of the mean of −log-likelihood of a word
};
LastWordsResult judge_last_words(std::span<const TextScore> scores);

std::vector<ScoredText> encode_documents(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                         std::optional<int32_t> beginning);
/// Every document from its beginning, every token predicted once (loglikelihood_rolling).
struct DocumentsResult {
  int64_t documents = 0, tokens = 0, words = 0, bytes = 0;  ///< words: re.split(r"\s+", text)
  double log_likelihood = 0;

  double loss() const;             ///< nats a token
  double word_perplexity() const;  ///< exp of nats a word
  double byte_perplexity() const;  ///< exp of nats a byte
  double bits_per_byte() const;
};
DocumentsResult judge_documents(const std::vector<std::string>& texts, std::span<const ScoredText> encoded,
                                std::span<const TextScore> scores);

}  // namespace retain
