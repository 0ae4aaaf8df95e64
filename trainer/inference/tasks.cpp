#include "trainer/inference/tasks.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/core/error.h"
#include "trainer/inference/python_text.h"

namespace retain {
namespace {

/// Of values that are no numbers none is the largest: there is nothing to judge.
void check_finite(std::span<const TextScore> scores, const char* text) {
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i].log_likelihood)) continue;
    throw Error(ErrorKind::kData,
                concat("the log-likelihood of ", text, " ", i + 1, " is not finite: weights of this model are not, or ",
                       "are too large for its precision"));
  }
}

}  // namespace

Estimate mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {.value = mean, .standard_error = std::sqrt(squares / (n - 1) / n)};
}

std::vector<ScoredText> encode_questions(const Tokenizer& tokenizer, const std::vector<Question>& questions,
                                         std::optional<int32_t> beginning) {
  std::vector<ScoredText> texts;
  for (const Question& question : questions) {
    for (const std::string& choice : question.choices)
      texts.push_back(encode_pair(tokenizer, question.context, " " + choice, beginning));
  }
  return texts;
}

ChoicesResult judge_choices(const std::vector<Question>& questions, std::span<const TextScore> scores) {
  check_finite(scores, "choice");
  std::vector<double> right, right_by_characters, right_by_bytes;
  for (const Question& question : questions) {
    const std::span mine = scores.subspan(0, question.choices.size());
    scores = scores.subspan(mine.size());
    const auto is_right = [&](const auto& size_of) {
      std::vector<double> values;
      for (size_t i = 0; i < mine.size(); ++i)
        values.push_back(mine[i].log_likelihood / static_cast<double>(size_of(question.choices[i])));
      const auto best = static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
      return best == question.label ? 1.0 : 0.0;
    };
    right.push_back(is_right([](const std::string&) { return 1; }));
    right_by_characters.push_back(is_right(count_code_points));
    right_by_bytes.push_back(is_right([](const std::string& choice) { return choice.size(); }));
  }
  RETAIN_CHECK(scores.empty(), scores.size(), " scores are of no question");
  return {.questions = static_cast<int64_t>(questions.size()),
          .acc = mean_of(right),
          .acc_norm = mean_of(right_by_characters),
          .acc_bytes = mean_of(right_by_bytes)};
}

std::vector<ScoredText> encode_last_words(const Tokenizer& tokenizer, const std::vector<LastWord>& texts,
                                          std::optional<int32_t> beginning) {
  std::vector<ScoredText> encoded;
  for (const LastWord& text : texts)
    encoded.push_back(encode_pair(tokenizer, text.context, " " + text.word, beginning));
  return encoded;
}

LastWordsResult judge_last_words(std::span<const TextScore> scores) {
  check_finite(scores, "last word");
  std::vector<double> right, log_likelihoods;
  for (const TextScore& score : scores) {
    right.push_back(score.greedy ? 1.0 : 0.0);
    log_likelihoods.push_back(score.log_likelihood);
  }
  const Estimate mean = mean_of(log_likelihoods);
  const double perplexity = std::exp(-mean.value);
  return {.texts = static_cast<int64_t>(scores.size()),
          .acc = mean_of(right),
          .perplexity = {.value = perplexity, .standard_error = perplexity * mean.standard_error}};
}

std::vector<ScoredText> encode_documents(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                         std::optional<int32_t> beginning) {
  if (std::ranges::all_of(texts, &std::string::empty))
    throw Error(ErrorKind::kData, "its texts are all empty: nothing can be predicted");
  std::vector<ScoredText> encoded;
  for (const std::string& text : texts) encoded.push_back(encode_document(tokenizer, text, beginning));
  return encoded;
}

double DocumentsResult::loss() const { return -log_likelihood / static_cast<double>(tokens); }
double DocumentsResult::word_perplexity() const { return std::exp(-log_likelihood / static_cast<double>(words)); }
double DocumentsResult::byte_perplexity() const { return std::exp(-log_likelihood / static_cast<double>(bytes)); }
double DocumentsResult::bits_per_byte() const {
  return -log_likelihood / (std::numbers::ln2 * static_cast<double>(bytes));
}

DocumentsResult judge_documents(const std::vector<std::string>& texts, std::span<const ScoredText> encoded,
                                std::span<const TextScore> scores) {
  DocumentsResult result{.documents = static_cast<int64_t>(texts.size())};
  for (size_t i = 0; i < texts.size(); ++i) {
    result.tokens += static_cast<int64_t>(encoded[i].tokens.size() - encoded[i].first);
    result.words += count_words(texts[i]);
    result.bytes += static_cast<int64_t>(texts[i].size());
    result.log_likelihood += scores[i].log_likelihood;
  }
  return result;
}

}  // namespace retain
