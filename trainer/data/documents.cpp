#include "trainer/data/documents.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <type_traits>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "parallel/agreement.h"
#include "parallel/host_name.h"
#include "trainer/data/token_origin.h"

namespace retain {
namespace {

/// A part of what rank 0 tells of a set: of one shard.
struct ShardMessage {
  TokenShardFacts shard;
  std::optional<int32_t> shown_end_token;  ///< of its set
};
static_assert(std::is_trivially_copyable_v<ShardMessage>);  // ranks send them as bytes

constexpr int64_t kMostBorders = 1000;     // of an index, looked at over the whole set
constexpr int64_t kTailTokens = 512;       // before a border, in which that token may stand a second time
constexpr int64_t kBlocks = 64;            // of a set, looked at for what tokens it has
constexpr int64_t kBlockTokens = 1 << 16;  // read at a time

/// The last tokens of a document of the index, and all of them if they are few; none of an empty document.
std::vector<int32_t> tail_of_document(const TokenSet& set, int64_t document) {
  const int64_t begin = set.document_begin(document), end = set.document_begin(document + 1);
  std::vector<int32_t> tail(static_cast<size_t>(std::clamp<int64_t>(end - begin, 0, kTailTokens)));
  set.read_any(end - static_cast<int64_t>(tail.size()), tail);
  return tail;
}

/// Documents before borders of the index that are looked at.
std::vector<int64_t> documents_looked_at(const TokenSet& set) {
  const int64_t borders = set.documents() - 1, looked_at = std::min(borders, kMostBorders);
  std::vector<int64_t> documents;
  for (int64_t i = 0; i < looked_at; ++i) documents.push_back(borders * i / looked_at);
  return documents;
}

/// The one token that all borders of the index follow, if there is one; the tokenizer's where any does.
std::optional<int32_t> token_at_borders(const TokenSet& set, const TokenizerFacts& tokenizer) {
  std::optional<int32_t> found;
  int64_t witnesses = 0;
  for (const int64_t document : documents_looked_at(set)) {
    const std::vector<int32_t> tail = tail_of_document(set, document);
    if (tail.empty()) continue;
    if (tail.back() == tokenizer.end_of_document) return tail.back();
    if (tail.back() != found.value_or(tail.back())) return std::nullopt;
    found = tail.back();
    const bool is_text = tokenizer.text_bytes(*found).value_or(0) > 0;
    if (is_text && std::count(tail.begin(), tail.end(), *found) > 1) return std::nullopt;
    ++witnesses;
  }
  if (witnesses == 1) {
    std::vector<int32_t> last(1);
    set.read_any(set.tokens() - 1, last);
    if (last[0] != *found) return std::nullopt;
  }
  return found;
}

void refuse_other_tokenizer(const TokenShard& set, const TokenizerFacts& tokenizer) {
  const std::optional<TokenOrigin> origin = read_token_origin(set);
  if (!origin || origin->fingerprint == tokenizer.fingerprint) return;
  throw Error(ErrorKind::kData,
              concat(set.prefix(), ": its tokens were made with the tokenizer ", in_quotes(origin->tokenizer), " (",
                     origin->vocab_size, " tokens, ", origin->fingerprint, "), but data.tokenizer is ",
                     in_quotes(tokenizer.name), " (", tokenizer.vocab_size(), " tokens, ", tokenizer.fingerprint,
                     "): set data.tokenizer to that one, or prepare the text with this one"));
}

}  // namespace

std::optional<int32_t> end_token(const DataConfig& data, int32_t of_tokenizer) {
  if (data.end_of_document == kEndOfDocumentNone) return std::nullopt;
  if (data.end_of_document == kEndOfDocumentAuto) return of_tokenizer;
  return static_cast<int32_t>(data.end_of_document);
}

Documents::Documents(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run,
                     std::shared_ptr<const TokenizerFacts> tokenizer, Unread)
    : set_(std::move(set)),
      reset_(data.reset_state_at_documents),
      auto_(data.end_of_document == kEndOfDocumentAuto),
      end_token_before_windows_(data.end_token_before_windows),
      tokenizer_(tokenizer ? std::move(tokenizer) : tokenizer_facts(data.tokenizer)),
      end_token_of_run_(retain::end_token(data, tokenizer_->end_of_document)) {
  if (auto_ && end_token_of_run) end_token_of_run_ = end_token_of_run;
}

Documents::Documents(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run,
                     std::shared_ptr<const TokenizerFacts> tokenizer)
    : Documents(std::move(set), data, end_token_of_run, std::move(tokenizer), Unread{}) {
  for (const TokenShard& shard : set_.shards()) refuse_other_tokenizer(shard, *tokenizer_);
  if (auto_) shown_ = token_at_borders(set_, *tokenizer_);
}

Documents Documents::of_known(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run,
                              std::optional<int32_t> shown_end_token, std::shared_ptr<const TokenizerFacts> tokenizer) {
  Documents documents(std::move(set), data, end_token_of_run, std::move(tokenizer), Unread{});
  documents.shown_ = shown_end_token;
  return documents;
}

namespace {

/// Rank 0's facts to all, of which a path without a pattern needs no word how many shards it has.
void broadcast_facts(Communicator& host, const std::vector<std::string>& paths, std::vector<DocumentsFacts>& facts) {
  std::vector<int32_t> counts(paths.size(), 1);
  if (std::any_of(paths.begin(), paths.end(), may_name_several)) {
    for (size_t i = 0; i < paths.size() && host.rank() == 0; ++i)
      counts[i] = static_cast<int32_t>(facts[i].set.shards.size());
    host.broadcast(TensorView(counts.data(), DType::kInt32, {std::ssize(counts)}), 0).wait();
  }
  std::vector<ShardMessage> messages;
  for (size_t i = 0; i < paths.size(); ++i) {
    facts[i].set.shards.resize(static_cast<size_t>(counts[i]));
    for (const TokenShardFacts& shard : facts[i].set.shards) messages.push_back({shard, facts[i].shown_end_token});
  }
  const auto bytes = static_cast<int64_t>(messages.size() * sizeof(ShardMessage));
  host.broadcast(TensorView(messages.data(), DType::kUint8, {bytes}), 0).wait();
  size_t next = 0;
  for (DocumentsFacts& of : facts) {
    for (TokenShardFacts& shard : of.set.shards) {
      of.shown_end_token = messages[next].shown_end_token;
      shard = messages[next++].shard;
    }
  }
}

}  // namespace

std::vector<Documents> open_documents(Communicator& host, const std::vector<std::string>& paths, const DataConfig& data,
                                      int64_t vocab_size, std::shared_ptr<const TokenizerFacts> tokenizer,
                                      std::optional<int32_t> end_token_of_run) {
  const auto files = std::make_shared<OpenFiles>();
  std::vector<Documents> sets;
  std::vector<DocumentsFacts> facts(paths.size());
  do_on_rank_0(host, [&] {
    for (size_t i = 0; i < paths.size(); ++i) {
      sets.emplace_back(TokenSet(paths[i], vocab_size, files), data, end_token_of_run, tokenizer);
      facts[i] = sets[i].facts();
    }
  });
  if (host.size() == 1 || paths.empty()) return sets;
  broadcast_facts(host, paths, facts);
  Outcome same = attempt([&] {
    for (size_t i = 0; i < paths.size() && host.rank() != 0; ++i) {
      TokenSet set(paths[i], vocab_size, files, facts[i].set);
      sets.push_back(Documents::of_known(std::move(set), data, end_token_of_run, facts[i].shown_end_token, tokenizer));
    }
  });
  if (!same.ok) same.message = concat("host ", host_name(), ": ", same.message);
  agree(host, same).throw_if_failed();
  return sets;
}

std::optional<int32_t> agree_on_end_token(std::vector<Documents>& sets) {
  std::optional<int32_t> shown;
  for (const Documents& set : sets) {
    if (shown && set.shown_ && *shown != *set.shown_) return set.end_token_of_run_;
    if (set.shown_) shown = set.shown_;
  }
  if (shown) {
    for (Documents& set : sets) set.end_token_of_run_ = shown;
  }
  return sets.front().end_token_of_run_;
}

std::optional<int64_t> Documents::text_bytes(int32_t token) const {
  const std::optional<int64_t> bytes = tokenizer_->text_bytes(token);
  return bytes || token != end_token() ? bytes : 0;
}

void Documents::read(int64_t begin, std::span<int32_t> tokens, std::span<Border> borders) const {
  RETAIN_CHECK(tokens.size() == borders.size(), tokens.size(), " tokens, ", borders.size(), " borders");
  set_.read(begin, tokens);
  std::fill(borders.begin(), borders.end(), Border::kNone);
  if (!reset_) return;
  const std::optional<int32_t> end_token = this->end_token();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == end_token) borders[i] = Border::kEndToken;
  }
  const int64_t end = begin + static_cast<int64_t>(tokens.size());
  for (const int64_t at : set_.document_begins(begin + 1, end)) {
    const auto i = static_cast<size_t>(at - begin);
    if (tokens[i - 1] != end_token) borders[i] = Border::kIndex;
  }
}

std::optional<Border> Documents::behind_put_end_token(int64_t begin) const {
  const std::optional<int32_t> end_token = this->end_token();
  if (!end_token_before_windows_ || !end_token || begin == 0) return std::nullopt;
  std::array<int32_t, 2> around{};
  set_.read(begin - 1, around);
  if (around[1] == *end_token) return std::nullopt;
  if (around[0] == *end_token) return Border::kNone;
  const bool index_border = !set_.document_begins(begin, begin + 1).empty();
  return index_border ? std::nullopt : std::optional(Border::kUnseen);
}

bool Documents::predicts_something(int64_t within_tokens) const {
  const int64_t end = std::min(tokens(), within_tokens + 1);
  std::vector<int32_t> block;
  std::vector<Border> borders;
  for (int64_t at = 0; at + 1 < end; at += kBlockTokens) {
    block.resize(static_cast<size_t>(std::min(kBlockTokens + 1, end - at)));  // the last is the next block's first
    borders.resize(block.size());
    read(at, block, borders);
    if (std::any_of(borders.begin() + 1, borders.end(), [](Border b) { return b != Border::kIndex; })) return true;
  }
  return false;
}

std::vector<SetNote> Documents::look_at_end_token() const {
  const std::optional<int32_t> end_token = this->end_token();
  if (!end_token) return {};
  const auto note = [&](bool warning, const auto&... parts) {
    return std::vector{SetNote{.sets = prefix(), .text = concat(parts...), .warning = warning}};
  };
  if (auto_) {
    if (end_token != end_token_of_run_) {
      return note(true, "documents end with token ", *end_token, ", but the end token of the run is ",
                  *end_token_of_run_, ", with which generation begins: the sets of a run should have one end token");
    }
    if (end_token == tokenizer_->end_of_document) return {};
    return note(false, "documents end with token ", *end_token, ", not with ", tokenizer_->end_of_document, " as ",
                tokenizer_->name, " has it");
  }
  std::map<int32_t, int64_t> before;  // borders that are looked at
  int64_t borders = 0;
  for (const int64_t document : documents_looked_at(set_)) {
    const std::vector<int32_t> tail = tail_of_document(set_, document);
    if (tail.empty()) continue;
    ++before[tail.back()];
    ++borders;
  }
  if (before[*end_token] == borders) return {};
  const auto most = std::ranges::max_element(before, {}, [](const auto& entry) { return entry.second; });
  return note(true, "data.end_of_document is ", *end_token, ", but ", before[*end_token], " of ", borders,
              " borders of the index follow that token",
              2 * most->second > borders && most->first != *end_token
                  ? concat("; ", most->second, " follow token ", most->first)
                  : "");
}

std::vector<SetNote> Documents::look_at(int64_t vocab_size, int64_t budget_tokens) const {
  const std::optional<int32_t> end_token = this->end_token();
  const int64_t blocks = budget_tokens >= tokens() ? 1 : kBlocks;
  const int64_t block_tokens = std::min(tokens(), std::max<int64_t>(1, budget_tokens / blocks));
  bool has_end_token = false;
  int32_t largest = 0, largest_inside = 0;  // of all, and without the end token
  int64_t first_too_large = -1;
  std::vector<int32_t> block(static_cast<size_t>(block_tokens));
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = blocks == 1 ? 0 : (tokens() - block_tokens) * i / (blocks - 1);
    set_.read_any(begin, block);
    for (size_t at = 0; at < block.size(); ++at) {
      const int32_t token = block[at];
      if (token >= vocab_size && first_too_large < 0) first_too_large = begin + static_cast<int64_t>(at);
      largest = std::max(largest, token);
      has_end_token = has_end_token || token == end_token;
      if (token != end_token) largest_inside = std::max(largest_inside, token);
    }
  }
  if (largest >= vocab_size) {
    std::vector<int32_t> found(1);
    set_.read_any(first_too_large, found);
    throw Error(ErrorKind::kData, concat(prefix(), ": holds token ", largest, ", but model.vocab_size is ", vocab_size,
                                         "; it must be at least ", largest + 1, " (", set_.place_of(first_too_large),
                                         ": found ", found[0], ")"));
  }
  std::vector<SetNote> notes;
  const auto note = [&](bool warning, const auto&... parts) {
    notes.push_back({.sets = prefix(), .text = concat(parts...), .warning = warning});
  };
  if (!text_bytes(largest_inside)) {
    note(true, "tokens above ", tokenizer_->vocab_size() - 1, " are none of data.tokenizer = ", tokenizer_->name,
         ": what is learned of them has no text");
  }
  const std::vector<SetNote> more = look_at_end_token();
  notes.insert(notes.end(), more.begin(), more.end());
  if (reset_ && set_.documents() == 1 && !has_end_token) {
    note(false, "the index has one document", end_token ? concat(", and there is no token ", *end_token) : "",
         ": if there are several, nothing tells where they begin, and sequences run across them");
  }
  return notes;
}

std::vector<SetNote> merged(const std::vector<SetNote>& notes) {
  constexpr size_t kMostNamed = 4;
  std::vector<SetNote> all;
  std::vector<std::set<std::string>> sets;  // of each
  for (const SetNote& note : notes) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const SetNote& n) { return n.text == note.text; });
    if (same == all.end()) {
      all.push_back(note);
      sets.push_back({note.sets});
      continue;
    }
    std::set<std::string>& named = sets[static_cast<size_t>(same - all.begin())];
    if (named.insert(note.sets).second && named.size() <= kMostNamed) same->sets += ", " + note.sets;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (sets[i].size() > kMostNamed) all[i].sets += concat(" and ", sets[i].size() - kMostNamed, " more");
  }
  return all;
}

}  // namespace retain
