// Recurrent decoding: constant memory and time a token. Sequences live in slots, each a state of fixed size a layer,
// all taken at the start; what is read at once goes in whole blocks in chunkwise form, its rest and everything
// generated token by token, of several sequences at once. Over the ranks of a tp axis every rank makes the same calls
// and gets the same results; each keeps its heads' states.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/inference/token_step.h"
#include "trainer/model/retnet.h"

namespace retain {

class Decoder {
 public:
  /// Memory for `slots` sequences; each slot holds an empty one. The parameters and the backend outlive the decoder.
  Decoder(Backend& backend, const ParameterStore& parameters, const ModelConfig& model, DType compute, int64_t slots);
  /// The same of one rank of a tp axis, which outlives it, with its part of the parameters.
  Decoder(Backend& backend, Communicator& tp, const ParameterStore& parameters, const ModelConfig& model, DType compute,
          int64_t slots);

  int64_t slots() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t state_bytes() const;  ///< of one slot on this rank
  int64_t vocab_size() const { return vocab_size_; }
  /// Tokens that are read at once: what is fed in multiples of so many, and then its rest, comes to the same bits as
  /// all of it at once.
  int64_t largest_block() const { return blocks_.front()->batch.shape.tokens; }

  /// An empty sequence lives in the slot now, whose tokens are counted from `position` on.
  void begin(int64_t slot, int64_t position = 0);
  /// Tokens that the slot's sequence has.
  int64_t position(int64_t slot) const { return sequence(slot).position; }

  /// Continues the slot's sequence by these tokens, at least one; logits [vocab_size] of the token that follows.
  std::vector<float> feed(int64_t slot, std::span<const int32_t> tokens);

  /// log p(token | those before it), and the likeliest tokens at its place with theirs, the likeliest first.
  struct Scored {
    float log_probability = 0;
    std::vector<std::pair<int32_t, float>> top;
  };
  /// Of a token that follows where the logits [vocab_size] stand.
  static Scored score(std::span<const float> logits, int32_t token, int top);
  /// As feed, and of each token how likely it was, with the `top` likeliest ones. NaN and none where nothing is known
  /// of what came before: the first token of a sequence, or the first after load() or after tokens drawn on the device.
  std::vector<float> feed_scored(int64_t slot, std::span<const int32_t> tokens, int top, std::vector<Scored>& scored);

  /// One token more for several slots at once, each at most once; logits [n, vocab_size] row by row.
  struct Continuation {
    int64_t slot;
    int32_t token;
  };
  std::vector<float> step(std::span<const Continuation> continuations);

  // Tokens that are drawn on the device continue their sequences there, without the host in between, which learns of
  // them a step later:
  //   queue_step(rows);
  //   for (;;) { queue_step(rows, the next ones); use(next_tokens()); }

  /// One token more for several slots, and one drawn for each.
  struct Draw {
    int64_t slot;
    DeviceSampling sampling;
    int32_t token = -1;  ///< that continues the sequence; negative: the one that was drawn last for the slot
  };
  /// Queues it and does not wait. At most two steps may be queued whose tokens were not taken.
  void queue_step(std::span<const Draw> draws);
  /// The tokens of the oldest step that was queued, in the order of its rows; -1 for one where there is nothing to draw
  /// or a logit is not finite. Waits for it alone.
  std::vector<int32_t> next_tokens();
  /// The tokens that may be drawn so, [vocab_size]: not those where this is 0. All, unless told.
  void set_drawable(std::span<const uint8_t> drawable) { step_.set_drawable(drawable); }

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

  /// A model that reads a fixed number of tokens a call.
  struct Block {
    RetNet model;
    Buffer batch_buffer;
    DeviceBatch batch;
    Block(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
          const Dimensions& dims);
  };
  /// A step whose tokens are on their way to the host.
  struct Drawn {
    std::vector<int64_t> slots;
    HostBuffer* tokens;
  };

  Decoder(Backend& backend, std::unique_ptr<Mesh> alone, Communicator* tp, const ParameterStore& parameters,
          const ModelConfig& model, DType compute, int64_t slots);
  Dimensions dimensions(const ModelConfig& model, DType compute, int64_t tokens) const;
  std::vector<TensorView> take_states(const Dimensions& dims, int64_t layers, int64_t slots);

  Sequence& sequence(int64_t slot);
  const Sequence& sequence(int64_t slot) const;
  /// Reads the first of these tokens, in the largest block that they fill or alone; how many those were.
  int64_t read(int64_t slot, std::span<const int32_t> tokens);
  void read_block(Block& block, int64_t slot, const int32_t* tokens);
  /// Of rows of the last read(), which were `count`.
  Rows read_logits(int64_t count, int64_t begin, int64_t end);
  Rows download(const TensorView& logits);
  Block* block_of(int64_t tokens);

  Backend& backend_;
  int64_t vocab_size_;
  std::unique_ptr<Mesh> alone_;
  TensorParallel tp_;
  ContextParallel cp_;
  std::vector<std::unique_ptr<Block>> blocks_;  ///< the largest first
  Buffer states_buffer_, logits_buffer_;
  std::vector<TensorView> states_;             ///< accumulate [slots,H,K,V] of each layer
  TensorView logits_, gathered_, all_logits_;  ///< logits on their way to the host: float32 [rows,vocab_size];
                                               ///< compute as in gather_logits()
  TokenStep step_;
  std::vector<Sequence> sequences_;
  std::array<std::unique_ptr<HostBuffer>, 2> drawn_buffers_;
  std::deque<Drawn> drawn_;  ///< the oldest first
  size_t next_buffer_ = 0;
};

}  // namespace retain
