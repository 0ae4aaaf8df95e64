#include "trainer/data/loader.h"

#include <xxhash.h>

#include <algorithm>
#include <span>

#include "kernels/core/error.h"

namespace retain {
namespace {

constexpr int64_t kLookedAtTokens = int64_t{64} << 20;  // of all sets of a run together: a second of reading

BatchLayout make_layout(const DataConfig& data, const TokenizerFacts& tokenizer, int64_t vocab_size, int64_t sequences,
                        int64_t segment_tokens, const MeshShape& shape, const MeshCoordinate& at) {
  if (vocab_size < tokenizer.vocab_size()) {
    throw Error(ErrorKind::kConfig, concat("model.vocab_size: ", vocab_size, " is less than the ",
                                           tokenizer.vocab_size(), " tokens of the tokenizer '", tokenizer.name, "'"));
  }
  return {.sequences = sequences,
          .seq_len = data.seq_len,
          .vocab_size = vocab_size,
          .parts = shape.cp,
          .part = at.cp,
          .segment_tokens = segment_tokens};
}

std::vector<Documents> open_sets(Communicator& host, const DataConfig& data, int64_t vocab_size,
                                 const std::shared_ptr<const TokenizerFacts>& tokenizer) {
  if (data.train.empty()) throw Error(ErrorKind::kConfig, "data.train: names no set of tokens");
  std::vector<std::string> paths;
  for (const DataSource& source : data.train) paths.push_back(source.path);
  std::vector<Documents> sets = open_documents(host, paths, data, vocab_size, tokenizer);
  for (const Documents& set : sets) {
    if (whole_windows(set.tokens(), data.seq_len) > 0) continue;
    throw Error(ErrorKind::kData, concat(set.prefix(), ": holds ", set.tokens(),
                                         " tokens, want at least data.seq_len + 1 = ", data.seq_len + 1));
  }
  return sets;
}

BatchOrder make_order(const std::vector<Documents>& sets, const DataConfig& data, uint64_t seed) {
  std::vector<int64_t> windows;
  std::vector<double> weights;
  for (const Documents& set : sets) windows.push_back(whole_windows(set.tokens(), data.seq_len));
  for (const DataSource& source : data.train) weights.push_back(source.weight);
  return {std::move(windows), weights, seed};
}

uint64_t hash_contents(const std::vector<Documents>& sets, const std::vector<int64_t>& shares) {
  std::vector<uint64_t> facts;
  for (size_t i = 0; i < sets.size(); ++i) {
    facts.push_back(sets[i].set().fingerprint());
    facts.push_back(static_cast<uint64_t>(shares[i]));
  }
  return XXH3_64bits(facts.data(), facts.size() * sizeof(uint64_t));
}

int64_t whole_quotient(int64_t dividend, int64_t divisor, const char* what) {
  RETAIN_CHECK(divisor > 0 && dividend > 0 && dividend % divisor == 0, what, ": ", dividend, " / ", divisor);
  return dividend / divisor;
}

Dealing deal(const TrainConfig& train, const MeshShape& shape) {
  const Dealing dealing{.micro_batches = whole_quotient(train.batch_tokens, train.micro_batch_tokens,
                                                        "batch_tokens / micro_batch_tokens"),
                        .replicas = shape.dp};
  RETAIN_CHECK(dealing.replicas <= dealing.micro_batches, dealing.micro_batches, " micro-batches over ",
               dealing.replicas, " replicas");
  return dealing;
}

std::vector<SetNote> look_at_set(const Documents& set, int64_t vocab_size, int64_t budget_tokens, int64_t used_tokens) {
  const std::vector<SetNote> notes = set.look_at(vocab_size, budget_tokens);
  if (!set.predicts_something(used_tokens)) {
    throw Error(ErrorKind::kData,
                concat(set.prefix(), ": nothing can be predicted in its first ", std::min(set.tokens(), used_tokens),
                       " tokens: each is a document of its own, and no end token is before it"));
  }
  return notes;
}

/// The window of a set that begins there becomes number b of a batch; the last of a set may be short. An end token that
/// is put before it takes the place of its last token, with which the next window begins. Returns how many were put.
int64_t read_window(const Documents& set, int64_t begin, int64_t seq_len, int64_t b, Windows& windows) {
  const std::optional<Border> behind = set.behind_put_end_token(begin);
  const int64_t shift = behind ? 1 : 0, count = std::min(seq_len + 1 - shift, set.tokens() - begin);
  const auto at = static_cast<size_t>(b * (seq_len + 1)), first = static_cast<size_t>(shift) + at;
  const auto size = static_cast<size_t>(count);
  set.read(begin, std::span(windows.tokens).subspan(first, size), std::span(windows.borders).subspan(first, size));
  if (!behind) return 0;
  windows.tokens[at] = *set.end_token();
  windows.borders[first] = *behind;
  return 1;
}

/// The first `count` targets of the window that begins there are nobody's; documents begin where they do.
void ignore_targets(int64_t window_begin, int64_t count, Windows& windows) {
  for (Border& border :
       std::span(windows.borders).subspan(static_cast<size_t>(window_begin) + 1, static_cast<size_t>(count))) {
    if (border == Border::kNone) border = Border::kUnseen;
    if (border == Border::kEndToken) border = Border::kIndex;
  }
}

}  // namespace

TrainLoader::TrainLoader(const DataConfig& data, const TrainConfig& train, int64_t vocab_size, uint64_t seed,
                         const MeshShape& shape, const MeshCoordinate& at, int64_t segment_tokens)
    : TrainLoader(data, train, vocab_size, seed, shape, at, segment_tokens, *make_self_communicator()) {}

TrainLoader::TrainLoader(const DataConfig& data, const TrainConfig& train, int64_t vocab_size, uint64_t seed,
                         const MeshShape& shape, const MeshCoordinate& at, int64_t segment_tokens, Communicator& host,
                         Activity* activity)
    : tokenizer_(tokenizer_facts(host, data.tokenizer)),
      layout_(make_layout(data, *tokenizer_, vocab_size,
                          whole_quotient(train.micro_batch_tokens, data.seq_len, "micro_batch_tokens / seq_len"),
                          segment_tokens, shape, at)),
      shape_(shape),
      at_(at),
      sets_(open_sets(host, data, vocab_size, tokenizer_)),
      end_token_(agree_on_end_token(sets_)),
      order_(make_order(sets_, data, seed)),
      dealing_(deal(train, shape)),
      contents_(hash_contents(sets_, order_.shares())),
      prefetcher_([this](int64_t number) { return make(number); }, micro_batches(),
                  [this](int64_t number) { return number_after(number); }, activity) {}

HostBatch TrainLoader::load(int64_t step, int64_t micro_batch) { return load_from(step * samples(), micro_batch); }

HostBatch TrainLoader::load_from(int64_t first_sample, int64_t micro_batch) {
  RETAIN_CHECK(first_sample >= 0 && micro_batch >= 0 && micro_batch < micro_batches(), "sample ", first_sample,
               ", micro-batch ", micro_batch, " of ", micro_batches());
  return prefetcher_.take(number_of(first_sample, micro_batch));
}

int64_t TrainLoader::number_after(int64_t number) const {
  const int64_t first_sample = number / micro_batches(), following = number % micro_batches() + 1;
  return following < micro_batches() ? number + 1 : number_of(first_sample + samples(), 0);
}

std::vector<SetNote> TrainLoader::look_at() const {
  const int64_t budget_tokens = kLookedAtTokens / static_cast<int64_t>(sets_.size()) + 1;
  std::vector<SetNote> notes;
  for (const Documents& set : sets_) {
    const std::vector<SetNote> more = look_at_set(set, layout_.vocab_size, budget_tokens, kLookedAtTokens);
    notes.insert(notes.end(), more.begin(), more.end());
  }
  return notes;
}

HostBatch TrainLoader::make(int64_t number) const {
  const int64_t first_sample = number / micro_batches(), micro_batch = number % micro_batches();
  const int64_t sample = first_sample + (micro_batch * shape_.dp + at_.dp) * layout_.sequences;
  Windows windows(layout_.sequences * (layout_.seq_len + 1));
  for (int64_t b = 0; b < layout_.sequences; ++b) {
    const Sample window = order_.at(sample + b);
    read_window(sets_[static_cast<size_t>(window.source)], window.window * layout_.seq_len, layout_.seq_len, b,
                windows);
  }
  return make_batch(layout_, windows);
}

EvalWindows::EvalWindows(TokenSet set, const DataConfig& data, int64_t vocab_size, int64_t sequences,
                         const MeshShape& shape, const MeshCoordinate& at, int64_t max_tokens,
                         std::optional<int32_t> end_token_of_run, int64_t segment_tokens, int64_t stride)
    : EvalWindows(Documents(std::move(set), data, end_token_of_run), data, vocab_size, sequences, shape, at, max_tokens,
                  segment_tokens, stride) {}

EvalWindows::EvalWindows(Documents documents, const DataConfig& data, int64_t vocab_size, int64_t sequences,
                         const MeshShape& shape, const MeshCoordinate& at, int64_t max_tokens, int64_t segment_tokens,
                         int64_t stride)
    : documents_(std::move(documents)),
      layout_(make_layout(data, documents_.tokenizer(), vocab_size, sequences, segment_tokens, shape, at)),
      shape_(shape),
      at_(at),
      stride_(stride > 0 ? stride : layout_.seq_len) {
  RETAIN_CHECK(stride_ <= layout_.seq_len, "windows of ", layout_.seq_len, " tokens, ", stride_, " apart");
  int64_t targets = documents_.tokens() - 1;
  if (max_tokens > 0) targets = std::min(targets, max_tokens);
  if (targets > 0) windows_ = 1 + (std::max<int64_t>(0, targets - layout_.seq_len) + stride_ - 1) / stride_;
  if (windows_ == 0) {
    throw Error(ErrorKind::kData,
                concat(documents_.prefix(), ": holds ", documents_.tokens(), " token, want at least 2"));
  }
}

EvalWindows EvalWindows::first_batch() const {
  EvalWindows first = *this;
  first.windows_ = std::min(windows_, layout_.sequences * shape_.dp);
  return first;
}

int64_t EvalWindows::count() const {
  const int64_t at_once = layout_.sequences * shape_.dp;
  return (windows_ + at_once - 1) / at_once;
}

std::vector<SetNote> EvalWindows::look_at() const {
  const int64_t used_tokens = (windows_ - 1) * stride_ + layout_.seq_len;
  return look_at_set(documents_, layout_.vocab_size, std::min(used_tokens, kLookedAtTokens), used_tokens);
}

HostBatch EvalWindows::load(int64_t i) const {
  RETAIN_CHECK(i >= 0 && i < count(), "batch ", i, " of ", count());
  Windows windows(layout_.sequences * (layout_.seq_len + 1));
  for (int64_t b = 0; b < layout_.sequences; ++b) {
    const int64_t window = (i * shape_.dp + at_.dp) * layout_.sequences + b;
    if (window >= windows_) break;
    const int64_t shift = read_window(documents_, window * stride_, layout_.seq_len, b, windows);
    if (window == 0 || stride_ == layout_.seq_len) continue;
    // The window before ends a target earlier where an end token was put before it.
    const int64_t shift_before = documents_.behind_put_end_token((window - 1) * stride_) ? 1 : 0;
    ignore_targets(b * (layout_.seq_len + 1), layout_.seq_len - stride_ + shift - shift_before, windows);
  }
  return make_batch(layout_, windows);
}

}  // namespace retain
