// Recurrent decoding: constant memory and time a token. The prompt is read in whole blocks in chunkwise form, its rest
// and everything generated token by token.
#pragma once

#include <vector>

#include "trainer/model/one_rank_model.h"

namespace retain {

struct SamplingOptions {
  double temperature = 1;  ///< 0: always the likeliest token
  double top_p = 1;        ///< keep the smallest set of tokens whose probabilities reach this
  uint64_t seed = 1;
};

/// Draws a token from logits; a pure function of (logits, options, index): number `index` of the sampler's stream. A
/// logit of -infinity is that of a token that cannot be drawn. Throws Error(kData) when no token can, or when a logit
/// is NaN or infinite: the model is broken.
int32_t sample_token(const std::vector<double>& logits, const SamplingOptions& options, uint64_t index);

class Decoder {
 public:
  /// One sequence on one rank. The parameters and the backend outlive the decoder.
  Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute);

  /// Continues the sequence by these tokens; returns the logits (vocab_size) of the token that follows the last of
  /// them.
  std::vector<double> feed(const std::vector<int32_t>& tokens);

 private:
  void run(OneRankModel& stage, const int32_t* tokens, RetentionForm form);

  Backend& backend_;
  int64_t vocab_size_;
  OneRankModel single_, block_;  ///< each reads a fixed number of tokens a call
  Buffer states_buffer_;
  CarriedStates states_;
  int64_t position_ = 0;
};

}  // namespace retain
