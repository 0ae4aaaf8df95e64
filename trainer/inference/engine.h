// Many sequences over few slots: continuous batching. Sequences wait for a slot in the order in which they came, those
// of one request taking turns with other requests'; one that gets a slot has its prompt read in blocks, in turn with
// other prompts, between the steps in which all others get a token each, so that none of them stands for longer than a
// block takes. A state is as large after a million tokens as after one: a sequence that has a slot never runs out of
// memory, and whoever leaves makes room for the next one at once. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/inference/decoder.h"
#include "trainer/inference/sampling.h"

namespace retain {

/// Why a sequence ended.
enum class SequenceEnd : uint8_t {
  kEndOfDocument,  ///< the model drew the token with which documents end
  kMaxTokens,
  kEnough,  ///< whoever asked said so
  kFailed   ///< its logits were no numbers
};

/// A sequence to be continued, and whoever hears of it. It outlives its stay in the engine.
class Sequence {
 public:
  virtual ~Sequence() = default;

  std::vector<int32_t> prompt;                 ///< to be read, at least one token
  const Decoder::SavedState* state = nullptr;  ///< of what was read before the prompt, or nothing
  std::optional<SeenTokens> seen = {};         ///< in the text before the prompt, where that has a state
  int64_t max_tokens = 16;                     ///< to be drawn; 0: the prompt is read, and that is all
  SamplingOptions sampling = {};
  bool score_prompt = false;  ///< how likely each token of the prompt was is told
  int64_t turn = 0;           ///< sequences of the same request that go before it
  int top = -1;               ///< of each place so many of the likeliest tokens are told; -1: nothing of what is drawn

  /// Before the prompt's last block, shorter or not, is read: what `state` and `prompt` are for a sequence that comes
  /// to the same bits as this one. Called where keeps_state() is true.
  virtual bool keeps_state() const { return false; }
  virtual void on_state(Decoder::SavedState&&, std::span<const int32_t> /*rest*/) {}
  /// The next tokens of the prompt were read, and where score_prompt is set how likely each was (Decoder::feed_scored).
  virtual void on_read(std::span<const int32_t>, std::span<const Decoder::Scored>) {}
  /// The next token was drawn; the one that ends a document too. False: it is enough.
  virtual bool on_token(int32_t token, const Decoder::Scored& scored) = 0;
  /// Nothing more will be said of this sequence. `reason` is of kFailed.
  virtual void on_end(SequenceEnd end, const std::string& reason) = 0;
};

class Engine {
 public:
  /// What was done since it was made.
  struct Counts {
    int64_t prompt_tokens = 0, drawn_tokens = 0;
    int64_t steps = 0, stepped_tokens = 0;  ///< in which sequences got a token each; and those tokens
    double prompt_seconds = 0, step_seconds = 0;
  };

  /// `drawable`: of each token of the vocabulary 1 where it may be drawn; `end`: the one that ends documents, if any.
  /// The decoder, all of whose slots it takes, outlives it.
  Engine(Decoder& decoder, std::vector<uint8_t> drawable, std::optional<int32_t> end);

  /// The sequence waits for a slot.
  void add(Sequence& sequence);
  /// It is forgotten, wherever it stands, without a word.
  void remove(const Sequence& sequence);
  /// Every sequence ends, failed for this reason.
  void end_all(const std::string& reason);
  /// Reads a block of one prompt and lets every sequence whose prompt is read have a token. False: nothing is to be
  /// done.
  bool advance();

  int64_t waiting() const { return std::ssize(waiting_); }
  int64_t active() const { return std::ssize(active_); }
  const Counts& counts() const { return counts_; }

 private:
  struct Active {
    Sequence* sequence;
    int64_t slot;
    uint64_t stay;  ///< its number, which no other has
    SeenTokens seen;
    size_t read = 0;      ///< of the prompt
    int64_t drawn = 0;    ///< tokens that the sequence was told
    int64_t queued = 0;   ///< to be drawn on the device, in steps whose tokens were not taken
    int32_t newest = -1;  ///< told and not fed
    bool over = false;    ///< and its slot is free from the next round on

    bool reads() const { return read < sequence->prompt.size(); }
  };

  void fill_slots();
  /// Of those whose prompt is not read: the one that came after the last that read a block, or the first; or null.
  Active* next_reader();
  void read_block(Active& one);
  /// A token for each whose prompt is read.
  void step();
  void step_on_host();
  void step_on_device();
  /// The tokens of the oldest step that is queued on the device.
  void take_tokens();
  /// Draws a token from the logits that follow what the sequence has.
  void draw(Active& one, std::span<const float> logits);
  void tell(Active& one, int32_t token, const Decoder::Scored& scored);
  void end(Active& one, SequenceEnd end, const std::string& reason = "");

  Decoder& decoder_;
  std::vector<uint8_t> drawable_;
  std::optional<int32_t> end_;
  std::multimap<int64_t, Sequence*> waiting_;  ///< by turn, and within one in the order in which they came
  int64_t turn_ = 0;                           ///< of the last that got a slot
  std::vector<Active> active_;                 ///< in the order in which they came
  std::vector<int64_t> free_slots_;
  std::deque<std::vector<uint64_t>> queued_;  ///< stays of the rows of the steps that are queued on the device
  uint64_t stays_ = 0;
  uint64_t last_reader_ = 0;  ///< its stay
  Counts counts_;
};

/// Tokens that have a text, and the one that ends documents: what may be drawn.
std::vector<uint8_t> drawable_tokens(int64_t vocab_size, const class Tokenizer& tokenizer, std::optional<int32_t> end);

}  // namespace retain
