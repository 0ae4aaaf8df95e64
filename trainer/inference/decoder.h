// Recurrent decoding: constant memory and time a token. Sequences live in slots, each a state of fixed size a layer,
// all taken at the start; what is read at once goes in whole blocks in chunkwise form, its rest and everything
// generated token by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "trainer/model/one_rank_model.h"

namespace retain {

class Decoder {
 public:
  /// Memory for `slots` sequences on one rank; each slot holds an empty one. The parameters and the backend outlive
  /// the decoder.
  Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute, int64_t slots);

  int64_t slots() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t state_bytes() const;  ///< of one slot
  int64_t vocab_size() const { return vocab_size_; }

  /// An empty sequence lives in the slot now.
  void begin(int64_t slot);
  /// Tokens that the slot's sequence has.
  int64_t position(int64_t slot) const { return sequence(slot).position; }

  /// Continues the slot's sequence by these tokens, at least one; logits [vocab_size] of the token that follows.
  std::vector<float> feed(int64_t slot, std::span<const int32_t> tokens);

  /// log p(token | those before it), and the likeliest tokens at its place with theirs, the likeliest first.
  struct Scored {
    float log_probability = 0;
    std::vector<std::pair<int32_t, float>> top;
  };
  /// As feed, and of each token how likely it was, with the `top` likeliest ones. NaN and none where nothing is known
  /// of what came before: the first token of a sequence, or the first after load().
  std::vector<float> feed_scored(int64_t slot, std::span<const int32_t> tokens, int top, std::vector<Scored>& scored);

  /// One token more for several slots at once, each at most once; logits [n, vocab_size] row by row.
  struct Continuation {
    int64_t slot;
    int32_t token;
  };
  std::vector<float> step(std::span<const Continuation> continuations);

  /// A slot's state on the host, to the last bit: accumulate [H,K,V] of each layer, one after the other.
  struct SavedState {
    int64_t position = 0;
    std::vector<std::byte> layers;
  };
  SavedState save(int64_t slot) const;
  /// Throws Error(kData) where the bytes are not as many as a slot of this model has.
  void load(int64_t slot, const SavedState& saved);

 private:
  struct Sequence {
    int64_t position = 0;
    std::vector<float> logits;  ///< of the token that follows; empty where they are not known
  };
  using Rows = std::vector<float>;  // logits, row by row

  Sequence& sequence(int64_t slot);
  const Sequence& sequence(int64_t slot) const;
  /// The state of a slot in each layer, before and after.
  CarriedStates states_of(int64_t slot) const;
  /// The largest block that `tokens` fill.
  OneRankModel& stage_for(int64_t tokens);
  /// Runs the stage on as many tokens as it takes.
  void run(OneRankModel& stage, int64_t slot, const int32_t* tokens);
  /// Of rows of the stage's last run.
  Rows logits(OneRankModel& stage, int64_t begin, int64_t count);

  Backend& backend_;
  int64_t vocab_size_;
  std::vector<std::unique_ptr<OneRankModel>> stages_;  ///< by the tokens that each reads a call, most first
  Buffer states_buffer_, logits_buffer_;
  std::vector<TensorView> states_;  ///< accumulate [slots,H,K,V] of each layer
  TensorView logits_;               ///< float32 [rows,vocab_size]: on their way to the host
  std::vector<Sequence> sequences_;
};

}  // namespace retain
