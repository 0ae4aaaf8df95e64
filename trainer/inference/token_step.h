// One token more for several sequences at once: what of a model decoding repeats, of fixed memory, recorded for each
// number of rows (a CUDA graph) and queued as one from then on. Everything that changes from token to token, which
// slots and positions, which tokens, how they are drawn, is read from the device's memory.
//
// Tensor parallel: each rank has its heads, FFN columns and rows of the vocabulary; what their columns contribute is
// summed, and the logits are gathered, so that every rank draws the same tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/core/memory.h"
#include "parallel/tensor_parallel.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/parameters.h"
#include "trainer/model/retention_tables.h"

namespace retain {

/// How a token is drawn on the device (sample_tokens in kernels/ops.h).
struct DeviceSampling {
  float temperature = 1;  ///< 0: the likeliest token
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  ///< 0: any number
  uint64_t key = 0;   ///< of the random numbers; with the token's position it says which these are
};

/// A row of a step.
struct TokenRow {
  int32_t slot = 0;      ///< whose state it continues
  int32_t position = 0;  ///< tokens that its sequence has
  int32_t token = -1;    ///< continues it; where it is negative, the one that was drawn for the slot last
  DeviceSampling sampling = {};
};

/// all compute [rows,vocab_size]: every rank's own [rows,vocab_rows] side by side, by way of gathered
/// [tp·rows,vocab_rows].
void gather_logits(Backend& backend, const TensorParallel& tp, const TensorView& own, const TensorView& gathered,
                   const TensorView& all);

class TokenStep {
 public:
  /// `states`: of each layer, accumulate [slots,H,K,V]. Everything that is given outlives this.
  TokenStep(Backend& backend, const TensorParallel& tp, const ParameterStore& parameters, const Dimensions& dims,
            std::vector<TensorView> states);

  /// Queues a step of these rows, at most as many as there are slots, no two of one slot; of `draws`, a token for each
  /// is drawn as well. Throws where rows do not fit.
  void queue(std::span<const TokenRow> rows, bool draws);
  /// compute [n,vocab_size] of the last step's rows: of the tokens that follow.
  TensorView logits(int64_t rows) const;
  /// int32 [slots]: the token that was drawn last for each; -1 where none could be.
  TensorView tokens() const { return tokens_; }
  /// Tokens that may be drawn; of all at the start. uint8 [vocab_size] on the host.
  void set_drawable(std::span<const uint8_t> drawable);

 private:
  /// One a row, in the device's memory; the host's copy is laid out alike and travels as one.
  struct Inputs {
    TensorView block;                            // uint8: all of them
    TensorView tokens, slots, positions, top_k;  // int32 [rows]
    TensorView keys;                             // int32 [rows,2]
    TensorView options;                          // float32 [rows,3]
  };
  struct Layer {
    TensorView norm, qkvg, o, group_norm, ffn_norm, ffn_in, down, states;
  };
  struct Recorded {
    bool known = false;  // was queued once
    std::unique_ptr<Recording> recording;
  };

  static Inputs take_inputs(Arena& arena, int64_t rows);
  void take(Arena& arena);
  void find_weights(const ParameterStore& parameters);
  void write_inputs(std::span<const TokenRow> rows, int64_t padded_rows);
  /// What is recorded.
  void compute(int64_t rows, bool draws) const;
  void embed(int64_t rows) const;
  void mix(const Layer& layer, int64_t layer_index, int64_t rows) const;
  void feed_forward(const Layer& layer, int64_t rows) const;
  void compute_logits(int64_t rows) const;
  void draw(int64_t rows) const;
  ProjectArgs projection(const TensorView& x, const TensorView& weight, const TensorView& y) const;
  /// The stream += x Wᵀ, of which each rank has some columns.
  void add_to_stream(const TensorView& x, const TensorView& weight) const;
  TensorView stream(int64_t rows) const { return x_.slice(0, 0, rows); }
  int64_t most_rows() const { return states_[0].shape[0]; }

  Backend& backend_;
  const TensorParallel& tp_;
  Dimensions dims_;
  std::vector<TensorView> states_;
  Buffer buffer_;
  RetentionTables tables_;
  Inputs inputs_, host_inputs_;
  std::vector<std::byte> host_;
  TensorView tokens_, drawable_;
  TensorView x_;                      ///< compute [rows,d]: the stream
  TensorView normed_, rstd_;          ///< compute [rows,d], accumulate [rows]: on the way to a product
  TensorView qkvg_, y_;               ///< compute [rows,2HK+2HV], [rows,HV]
  TensorView ab_, h_;                 ///< compute [rows,2F], [rows,F]
  TensorView own_logits_;             ///< compute [rows,vocab_rows]
  TensorView gathered_, all_logits_;  ///< compute [tp·rows,vocab_rows], [rows,vocab_size]: with several ranks
  TensorView embedding_, embedding_norm_, final_norm_, head_;
  std::vector<Layer> layers_;
  std::map<std::pair<int64_t, bool>, Recorded> recordings_;  ///< by rows and whether tokens are drawn
};

}  // namespace retain
