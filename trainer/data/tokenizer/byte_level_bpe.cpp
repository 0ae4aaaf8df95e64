#include "trainer/data/tokenizer/byte_level_bpe.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/data/tokenizer/pattern.h"

namespace retain {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokensByText = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct Merge {
  int32_t rank, result;
};

class Merger {
 public:
  explicit Merger(const ByteLevelBpe& parts);

  /// Appends the tokens of a piece. `work` is memory that is used again.
  struct Work;
  void merge(std::string_view piece, Work& work, std::vector<int32_t>& tokens) const;

 private:
  std::array<int32_t, 256> bytes_{};
  std::unordered_map<uint64_t, Merge> merges_;
};

struct Merger::Work {
  struct Symbol {
    int32_t token, before, after;  ///< neighbours by index, -1 at the ends
  };
  struct Candidate {
    int32_t rank, left;  ///< left: the index of its first symbol
    uint64_t pair;       ///< what it was made of
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

Merger::Merger(const ByteLevelBpe& parts) {
  const auto token = [&](const std::string& text, size_t rank) {
    const auto found = parts.vocabulary.find(text);
    if (found == parts.vocabulary.end())
      throw Error(ErrorKind::kData,
                  concat(parts.name, ": merge ", rank + 1, " has ", in_quotes(text), ", which the vocabulary has not"));
    return found->second;
  };
  for (size_t byte = 0; byte < bytes_.size(); ++byte) {
    const auto found = parts.vocabulary.find(std::string(1, static_cast<char>(byte)));
    if (found == parts.vocabulary.end())
      throw Error(ErrorKind::kData, concat(parts.name, ": byte ", byte, " is no token; this is not byte-level BPE"));
    bytes_[byte] = found->second;
  }
  merges_.reserve(parts.merges.size());
  for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
    const auto& [left, right] = parts.merges[rank];
    merges_.try_emplace(pair_key(token(left, rank), token(right, rank)),
                        Merge{.rank = static_cast<int32_t>(rank), .result = token(left + right, rank)});
  }
}

void Merger::merge(std::string_view piece, Work& work, std::vector<int32_t>& tokens) const {
  std::vector<Work::Symbol>& symbols = work.symbols;
  std::vector<Work::Candidate>& heap = work.heap;
  const auto add = [&](int32_t left) {
    const int32_t right = symbols[static_cast<size_t>(left)].after;
    if (right < 0) return;
    const uint64_t pair = pair_key(symbols[static_cast<size_t>(left)].token, symbols[static_cast<size_t>(right)].token);
    const auto found = merges_.find(pair);
    if (found == merges_.end()) return;
    heap.push_back({.rank = found->second.rank, .left = left, .pair = pair});
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  symbols.clear();
  heap.clear();
  const auto count = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<size_t>(i)]);
    symbols.push_back({.token = bytes_[byte], .before = i - 1, .after = i + 1 < count ? i + 1 : -1});
  }
  for (int32_t i = 0; i < count; ++i) add(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const Work::Candidate best = heap.back();
    heap.pop_back();
    Work::Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.token < 0 || left.after < 0) continue;  // merged away, or the last
    Work::Symbol& right = symbols[static_cast<size_t>(left.after)];
    if (pair_key(left.token, right.token) != best.pair) continue;
    left.token = merges_.find(best.pair)->second.result;
    right.token = -1;
    left.after = right.after;
    if (left.after >= 0) symbols[static_cast<size_t>(left.after)].before = best.left;
    add(best.left);
    if (left.before >= 0) add(left.before);
  }
  for (int32_t i = 0; i >= 0 && i < count; i = symbols[static_cast<size_t>(i)].after) {
    tokens.push_back(symbols[static_cast<size_t>(i)].token);
  }
}

/// Any of the texts, of those that begin alike the longest.
std::string any_of(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  std::string expression;
  for (const std::string& text : texts) {
    if (!expression.empty()) expression += '|';
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) expression += '\\';
      expression += c;
    }
  }
  return expression;
}

/// Of everything but the name, in an order that does not depend on the files.
std::string hash_of(const ByteLevelBpe& parts) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  const auto number = [&](uint64_t value) { XXH3_64bits_update(state.get(), &value, sizeof value); };
  const auto text = [&](std::string_view value) {
    number(value.size());
    XXH3_64bits_update(state.get(), value.data(), value.size());
  };
  const std::map<std::string_view, int32_t> vocabulary(parts.vocabulary.begin(), parts.vocabulary.end());
  std::map<int32_t, const AddedToken*> added;
  for (const AddedToken& token : parts.added) added[token.id] = &token;
  number(vocabulary.size());
  for (const auto& [bytes, id] : vocabulary) text(bytes), number(static_cast<uint64_t>(id));
  number(parts.merges.size());
  for (const auto& [left, right] : parts.merges) text(left), text(right);
  number(parts.patterns.size());
  for (const std::string& pattern : parts.patterns) text(pattern);
  for (const auto& [id, token] : added) number(static_cast<uint64_t>(id)), text(token->text), number(token->special);
  number(parts.whole_pieces_first);
  number(static_cast<uint64_t>(parts.end_of_document));
  return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
}

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(const ByteLevelBpe& parts);

  std::string_view name() const override { return name_; }
  std::string fingerprint() const override { return fingerprint_; }
  int64_t vocab_size() const override { return static_cast<int64_t>(texts_.size()); }
  int32_t end_of_document() const override { return end_of_document_; }

  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> tokens) const override;
  std::optional<int64_t> text_bytes(int32_t token) const override;
  size_t cut(std::string_view text) const override;

 private:
  void encode_run(std::string_view run, Merger::Work& work, std::vector<int32_t>& tokens) const;
  void encode_piece(std::string_view piece, size_t pattern, Merger::Work& work, std::vector<int32_t>& tokens) const;
  bool known(int32_t token) const {
    return token >= 0 && token < vocab_size() && texts_[static_cast<size_t>(token)].has_value();
  }

  std::string name_, fingerprint_;
  int32_t end_of_document_;
  Merger merger_;
  std::vector<Pattern> patterns_;
  std::optional<Pattern> added_pattern_;
  TokensByText added_;                             // those that text may hold
  TokensByText whole_;                             // what a piece of this text becomes, where it is one token
  std::vector<std::optional<std::string>> texts_;  // by token
};

BpeTokenizer::BpeTokenizer(const ByteLevelBpe& parts)
    : name_(parts.name), fingerprint_(hash_of(parts)), end_of_document_(parts.end_of_document), merger_(parts) {
  const auto set_text = [&](int32_t id, const std::string& text) {
    if (id < 0 || id > (1 << 24)) throw Error(ErrorKind::kData, concat(name_, ": ", in_quotes(text), " has id ", id));
    if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(static_cast<size_t>(id) + 1);
    texts_[static_cast<size_t>(id)] = text;
  };
  for (size_t i = 0; i < parts.patterns.size(); ++i) patterns_.emplace_back(parts.patterns[i], name_);
  Merger::Work work;
  std::vector<int32_t> tokens;
  for (const auto& [text, id] : parts.vocabulary) {
    set_text(id, text);
    tokens.clear();
    if (!parts.whole_pieces_first) merger_.merge(text, work, tokens);
    if (parts.whole_pieces_first || (tokens.size() == 1 && tokens[0] == id)) whole_.emplace(text, id);
  }
  std::vector<std::string> in_text;
  for (const AddedToken& token : parts.added) {
    set_text(token.id, token.text);
    if (token.special) continue;
    added_.emplace(token.text, token.id);
    in_text.push_back(token.text);
  }
  if (!in_text.empty()) added_pattern_.emplace(any_of(in_text), name_);
  if (!known(end_of_document_))
    throw Error(ErrorKind::kData, concat(name_, ": has no token ", end_of_document_, " to end documents with"));
  texts_[static_cast<size_t>(end_of_document_)] = "";
}

void BpeTokenizer::encode_piece(std::string_view piece, size_t pattern, Merger::Work& work,
                                std::vector<int32_t>& tokens) const {
  if (pattern < patterns_.size()) {
    return patterns_[pattern].split(
        piece, [&](std::string_view part, bool) { encode_piece(part, pattern + 1, work, tokens); });
  }
  if (const auto whole = whole_.find(piece); whole != whole_.end()) return tokens.push_back(whole->second);
  merger_.merge(piece, work, tokens);
}

void BpeTokenizer::encode_run(std::string_view run, Merger::Work& work, std::vector<int32_t>& tokens) const {
  if (!added_pattern_) return encode_piece(run, 0, work, tokens);
  added_pattern_->split(run, [&](std::string_view part, bool added) {
    added ? tokens.push_back(added_.find(part)->second) : encode_piece(part, 0, work, tokens);
  });
}

/// The end of the UTF-8 that begins at `from`.
size_t end_of_utf8(std::string_view text, size_t from) {
  while (from < text.size()) {
    const size_t length = utf8_length(text, from);
    if (length == 0) break;
    from += length;
  }
  return from;
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size() / 3);
  Merger::Work work;
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_utf8(text, at);
    if (end > at) encode_run(text.substr(at, end - at), work, tokens);
    at = end;
    if (at < text.size()) merger_.merge(text.substr(at++, 1), work, tokens);  // a byte that is no character
  }
  return tokens;
}

std::string BpeTokenizer::decode(std::span<const int32_t> tokens) const {
  std::string text;
  for (const int32_t token : tokens) {
    if (!known(token)) {
      throw Error(ErrorKind::kData, concat("token ", token, " is none of the tokenizer ", in_quotes(name_), " (0 to ",
                                           vocab_size() - 1, ")"));
    }
    text += *texts_[static_cast<size_t>(token)];
  }
  return text;
}

std::optional<int64_t> BpeTokenizer::text_bytes(int32_t token) const {
  if (!known(token)) return std::nullopt;
  return static_cast<int64_t>(texts_[static_cast<size_t>(token)]->size());
}

size_t BpeTokenizer::cut(std::string_view text) const {
  constexpr size_t kLongestCharacter = 4;
  size_t begin = 0, end = 0;  // of the last run of characters
  for (size_t at = 0; at < text.size(); at = end + 1) {
    begin = at;
    end = end_of_utf8(text, at);
    if (end < text.size() && text.size() - end < kLongestCharacter) {  // may be a character that is not whole yet
      text = text.substr(0, end);
    }
  }
  if (begin >= text.size()) return text.size();
  std::string_view run = text.substr(begin);
  if (added_pattern_) {
    run = run.substr(0, added_pattern_->open_match(run));
    const size_t settled = added_pattern_->settled(run);
    begin += settled;
    run = run.substr(settled);
  }
  return begin + (patterns_.empty() ? 0 : patterns_.front().settled(run));
}

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level_bpe(const ByteLevelBpe& parts) {
  return std::make_unique<BpeTokenizer>(parts);
}

}  // namespace retain
