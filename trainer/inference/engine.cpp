#include "trainer/inference/engine.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "kernels/core/random.h"
#include "parallel/agreement.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr const char* kBroken = "a logit of the model is not finite: its weights are broken";

DeviceSampling on_device(const SamplingOptions& options) {
  return {.temperature = static_cast<float>(options.temperature),
          .top_p = static_cast<float>(options.top_p),
          .min_p = static_cast<float>(options.min_p),
          .top_k = static_cast<int32_t>(std::min<int64_t>(options.top_k, std::numeric_limits<int32_t>::max())),
          .key = stream_key(options.seed, "sampler")};
}

bool needs_host(const Sequence& sequence) { return sequence.top >= 0 || sequence.sampling.repetition_penalty != 1; }

}  // namespace

std::vector<uint8_t> drawable_tokens(int64_t vocab_size, const Tokenizer& tokenizer, std::optional<int32_t> end) {
  std::vector<uint8_t> drawable;
  for (int32_t token = 0; token < vocab_size; ++token)
    drawable.push_back(token == end || tokenizer.text_bytes(token) ? 1 : 0);
  return drawable;
}

Engine::Engine(Decoder& decoder, std::vector<uint8_t> drawable, std::optional<int32_t> end)
    : decoder_(decoder), drawable_(std::move(drawable)), end_(end) {
  decoder_.set_drawable(drawable_);
  for (int64_t slot = decoder.slots() - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

void Engine::add(Sequence& sequence) {
  RETAIN_CHECK(!sequence.prompt.empty(), "a sequence begins with a token");
  waiting_.emplace(turn_ + 1 + sequence.turn, &sequence);
}

void Engine::remove(const Sequence& sequence) {
  std::erase_if(waiting_, [&](const auto& one) { return one.second == &sequence; });
  for (Active& one : active_)
    if (one.sequence == &sequence) one.over = true;
}

void Engine::end_all(const std::string& reason) {
  for (Active& one : active_)
    if (!one.over) end(one, SequenceEnd::kFailed, reason);
  for (; !waiting_.empty(); waiting_.erase(waiting_.begin()))
    waiting_.begin()->second->on_end(SequenceEnd::kFailed, reason);
}

bool Engine::advance() {
  for (const Active& one : active_)
    if (one.over) free_slots_.push_back(one.slot);
  std::erase_if(active_, [](const Active& one) { return one.over; });
  fill_slots();
  if (active_.empty()) {
    while (!queued_.empty()) take_tokens();
    return false;
  }
  step();
  if (Active* const one = next_reader()) read_block(*one);
  return true;
}

Engine::Active* Engine::next_reader() {
  Active* first = nullptr;
  for (Active& one : active_) {
    if (one.over || !one.reads()) continue;
    if (one.stay > last_reader_) return &one;
    if (first == nullptr) first = &one;
  }
  return first;
}

void Engine::fill_slots() {
  while (!waiting_.empty() && !free_slots_.empty()) {
    const auto next = waiting_.begin();
    Sequence& sequence = *next->second;
    const int64_t slot = free_slots_.back();
    if (sequence.state != nullptr) {
      decoder_.load(slot, *sequence.state);
    } else {
      decoder_.begin(slot);
    }
    turn_ = next->first;
    waiting_.erase(next);
    free_slots_.pop_back();
    active_.push_back({.sequence = &sequence,
                       .slot = slot,
                       .stay = ++stays_,
                       .seen = sequence.seen ? *sequence.seen : SeenTokens(decoder_.vocab_size())});
  }
}

void Engine::read_block(Active& one) {
  last_reader_ = one.stay;
  Sequence& sequence = *one.sequence;
  const auto left = std::span(std::as_const(sequence.prompt)).subspan(one.read);
  const auto block = left.first(std::min(left.size(), static_cast<size_t>(decoder_.largest_block())));
  const bool last = block.size() == left.size();
  if (last && sequence.keeps_state()) sequence.on_state(decoder_.save(one.slot), block);
  const double begun = seconds_now();
  std::vector<Decoder::Scored> scored;
  const std::vector<float> logits = sequence.score_prompt
                                        ? decoder_.feed_scored(one.slot, block, std::max(sequence.top, 0), scored)
                                        : decoder_.feed(one.slot, block);
  counts_.prompt_seconds += seconds_now() - begun;
  counts_.prompt_tokens += std::ssize(block);
  one.seen.add(block);
  one.read += block.size();
  sequence.on_read(block, scored);
  if (!last) return;
  if (sequence.max_tokens == 0) return end(one, SequenceEnd::kMaxTokens);
  draw(one, logits);
}

void Engine::step() {
  const double begun = seconds_now();
  const bool host = std::ranges::any_of(
      active_, [](const Active& one) { return !one.over && !one.reads() && needs_host(*one.sequence); });
  host ? step_on_host() : step_on_device();
  counts_.step_seconds += seconds_now() - begun;
}

void Engine::step_on_host() {
  while (!queued_.empty()) take_tokens();
  std::vector<Decoder::Continuation> tokens;
  std::vector<Active*> whose;
  for (Active& one : active_) {
    if (one.over || one.reads()) continue;
    tokens.push_back({.slot = one.slot, .token = one.newest});
    whose.push_back(&one);
  }
  if (tokens.empty()) return;
  const std::vector<float> logits = decoder_.step(tokens);
  ++counts_.steps;
  counts_.stepped_tokens += std::ssize(tokens);
  const auto vocab = static_cast<size_t>(decoder_.vocab_size());
  for (size_t i = 0; i < whose.size(); ++i) draw(*whose[i], std::span(logits).subspan(i * vocab, vocab));
}

void Engine::step_on_device() {
  std::vector<Decoder::Draw> draws;
  std::vector<uint64_t> stays;
  for (Active& one : active_) {
    if (one.over || one.reads() || one.drawn + one.queued == one.sequence->max_tokens) continue;
    draws.push_back(
        {.slot = one.slot, .sampling = on_device(one.sequence->sampling), .token = one.queued > 0 ? -1 : one.newest});
    stays.push_back(one.stay);
    ++one.queued;
  }
  const bool more = !draws.empty();
  if (more) {
    decoder_.queue_step(draws);
    queued_.push_back(std::move(stays));
    ++counts_.steps;
    counts_.stepped_tokens += std::ssize(draws);
  }
  // One step is left to the device to be at while the host is at the tokens of the one before.
  if (queued_.size() > (more ? 1U : 0U)) take_tokens();
}

void Engine::take_tokens() {
  const std::vector<uint64_t> stays = std::move(queued_.front());
  queued_.pop_front();
  const std::vector<int32_t> tokens = decoder_.next_tokens();
  for (size_t i = 0; i < stays.size(); ++i) {
    const auto one = std::ranges::find(active_, stays[i], &Active::stay);
    if (one == active_.end() || one->over) continue;  // it has left meanwhile
    --one->queued;
    if (tokens[i] < 0) {
      end(*one, SequenceEnd::kFailed, kBroken);
    } else {
      tell(*one, tokens[i], {});
    }
  }
}

void Engine::draw(Active& one, std::span<const float> logits) {
  const Sequence& sequence = *one.sequence;
  int32_t token = -1;
  Decoder::Scored scored;
  const Outcome drawn = attempt([&] {
    std::vector<float> from(logits.begin(), logits.end());
    for (size_t i = 0; i < from.size(); ++i)
      if (drawable_[i] == 0) from[i] = -std::numeric_limits<float>::infinity();
    one.seen.penalize(from, sequence.sampling.repetition_penalty);
    // The number that a device takes: the place of the newest token that was fed.
    token = sample_token(from, sequence.sampling, static_cast<uint64_t>(decoder_.position(one.slot) - 1));
    if (sequence.top >= 0) scored = Decoder::score(logits, token, sequence.top);
  });
  if (!drawn.ok) return end(one, SequenceEnd::kFailed, drawn.message);
  tell(one, token, scored);
}

void Engine::tell(Active& one, int32_t token, const Decoder::Scored& scored) {
  ++counts_.drawn_tokens;
  one.seen.add({&token, 1});
  one.newest = token;
  const bool more = one.sequence->on_token(token, scored);
  if (token == end_) return end(one, SequenceEnd::kEndOfDocument);
  if (!more) return end(one, SequenceEnd::kEnough);
  if (++one.drawn == one.sequence->max_tokens) end(one, SequenceEnd::kMaxTokens);
}

void Engine::end(Active& one, SequenceEnd end, const std::string& reason) {
  one.over = true;
  one.sequence->on_end(end, reason);
}

}  // namespace retain
