#include "launch/serve/completion.h"

#include <algorithm>
#include <utility>

#include "trainer/inference/generated_text.h"

namespace retain {

class Completion::Choice : public Sequence {
 public:
  Choice(Completion& whole, const CompletionRequest::Prompt& of, int64_t index, int64_t of_prompt)
      : whole_(whole), text_(whole.model_.tokenizer, of.tokens, whole.request_.stops) {
    const CompletionRequest& request = whole.request_;
    prompt = of.tokens;
    max_tokens = request.max_tokens;
    sampling = request.sampling;
    sampling.seed += static_cast<uint64_t>(of_prompt);
    score_prompt = request.echo && request.logprobs >= 0;
    top = request.logprobs;
    turn = index;
    news_.index = index;
    news_.begins = score_prompt || of.text.empty();
    if (request.echo) news_.text = of.text;
  }

  void on_read(std::span<const int32_t> tokens, std::span<const Decoder::Scored> scored) override {
    if (scored.empty()) return;
    const std::lock_guard lock(whole_.mutex_);
    news_.tokens.insert(news_.tokens.end(), tokens.begin(), tokens.end());
    news_.scored.insert(news_.scored.end(), scored.begin(), scored.end());
    tell();
  }

  bool on_token(int32_t token, const Decoder::Scored& scored) override {
    const std::string more = token == whole_.model_.end_token ? "" : text_.add(token);
    const std::lock_guard lock(whole_.mutex_);
    if (!whole_.first_token_) whole_.first_token_ = std::chrono::steady_clock::now();
    ++whole_.completion_tokens_;
    if (top >= 0) {
      news_.tokens.push_back(token);
      news_.scored.push_back(scored);
    }
    news_.text += more;
    tell();
    return !text_.stopped();
  }

  void on_end(SequenceEnd end, const std::string& reason) override {
    const std::string rest = text_.rest();
    const std::lock_guard lock(whole_.mutex_);
    news_.text += rest;
    news_.finish_reason = end == SequenceEnd::kMaxTokens && !text_.stopped() ? "length" : "stop";
    if (end == SequenceEnd::kFailed && !whole_.failure_) whole_.failure_ = reason;
    if (--whole_.open_ == 0) whole_.on_ended_();
    tell();
  }

  /// With the lock held.
  std::optional<ChoicePart> take_news() {
    if (news_.text.empty() && news_.tokens.empty() && news_.finish_reason.empty()) return std::nullopt;
    ChoicePart next{.index = news_.index};
    const int64_t characters = characters_of(news_.tokens, news_.begins, whole_.model_);
    next.text_offset = news_.text_offset + characters;
    next.begins = news_.begins && characters == 0;
    return std::exchange(news_, std::move(next));
  }

 private:
  void tell() {
    whole_.news_ = true;
    if (whole_.request_.stream || whole_.open_ == 0) whole_.changed_.notify_all();
  }

  Completion& whole_;
  GeneratedText text_;
  ChoicePart news_;
};

Completion::Completion(const CompletionRequest& request, const ServedModel& model, std::function<void()> on_ended)
    : request_(request), model_(model), on_ended_(std::move(on_ended)) {
  for (const CompletionRequest::Prompt& prompt : request.prompts)
    for (int64_t i = 0; i < request.choices; ++i)
      choices_.push_back(std::make_unique<Choice>(*this, prompt, std::ssize(choices_), i));
  open_ = std::ssize(choices_);
}

Completion::~Completion() = default;

std::vector<Sequence*> Completion::sequences() {
  std::vector<Sequence*> all;
  for (const auto& choice : choices_) all.push_back(choice.get());
  return all;
}

bool Completion::wait(std::chrono::milliseconds limit, bool any) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return open_ == 0 || (any && news_); });
}

std::vector<ChoicePart> Completion::take_news() {
  const std::lock_guard lock(mutex_);
  std::vector<ChoicePart> parts;
  for (const auto& choice : choices_)
    if (std::optional<ChoicePart> part = choice->take_news()) parts.push_back(std::move(*part));
  news_ = false;
  return parts;
}

bool Completion::ended() const {
  const std::lock_guard lock(mutex_);
  return open_ == 0;
}

std::optional<std::string> Completion::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

int64_t Completion::completion_tokens() const {
  const std::lock_guard lock(mutex_);
  return completion_tokens_;
}

std::optional<std::chrono::steady_clock::time_point> Completion::first_token() const {
  const std::lock_guard lock(mutex_);
  return first_token_;
}

}  // namespace retain
