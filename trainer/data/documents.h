// Where the documents of a set begin. A document begins with the end-of-document token of the one before it: the state
// is reset before that token, and everything after it is predicted, the document's first token included. The end token
// is also the target of the token before it. Where the index of the set has a border without an end token before it,
// the document begins behind the border, and its first token is predicted by nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/config.h"
#include "trainer/data/token_set.h"
#include "trainer/data/tokenizer/facts.h"

namespace retain {

/// This rule as checkpoints keep it: a resume from one of another rule says so.
inline constexpr const char* kDocumentsBegin = "at their end token";

/// What a token is to the documents beside it.
enum class Border : uint8_t {
  kNone,      ///< a token inside a document
  kEndToken,  ///< ends a document and begins the next
  kIndex,     ///< the first of a document that no end token begins
  kUnseen,    ///< inside a document, behind an end token that was put before a window: nobody's target
};

/// The token that ends and begins documents where no set shows another: data.end_of_document, or the tokenizer's; none
/// when documents have no such token.
std::optional<int32_t> end_token(const DataConfig& data, int32_t of_tokenizer);

/// Something that people should know of a set before it is used.
struct SetNote {
  std::string sets;  ///< their prefixes
  std::string text;
  bool warning = false;
};

/// Notes with one text become one, which names each set once.
std::vector<SetNote> merged(const std::vector<SetNote>& notes);

/// What opening a set and looking at its borders found out, for ranks that need not look again.
struct DocumentsFacts {
  TokenSetFacts set;
  std::optional<int32_t> shown_end_token;
};

/// A set of tokens and its documents. Const, for any thread.
class Documents {
 public:
  /// With data.end_of_document auto the end token is the one that the set shows, else `end_token_of_run`, else the
  /// tokenizer's. A set shows one when the borders of its index that are looked at, up to 1,000 over the whole set, all
  /// follow it, or when one of them follows the tokenizer's. (Of a single border the set's end must be a witness too;
  /// and a token of ordinary text that also stands inside of documents, such as a line's end, ends none.) `tokenizer`
  /// is that of data.tokenizer; where none is given, it is made. Throws Error(kData), also where the set says that it
  /// was made with another one, and Error(kIo).
  Documents(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run = std::nullopt,
            std::shared_ptr<const TokenizerFacts> tokenizer = nullptr);
  /// The same of a set that shows `shown_end_token`: nothing is read.
  static Documents of_known(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run,
                            std::optional<int32_t> shown_end_token, std::shared_ptr<const TokenizerFacts> tokenizer);

  const TokenSet& set() const { return set_; }
  DocumentsFacts facts() const { return {set_.facts(), shown_}; }
  const TokenizerFacts& tokenizer() const { return *tokenizer_; }
  const std::string& prefix() const { return set_.prefix(); }
  int64_t tokens() const { return set_.tokens(); }
  std::optional<int32_t> end_token() const { return shown_ ? shown_ : end_token_of_run_; }
  /// Bytes of a target's text, 0 of an end token that is no text; nothing when the tokenizer does not have the token.
  std::optional<int64_t> text_bytes(int32_t token) const;

  /// Tokens [begin, begin + tokens.size()), as TokenSet::read(), and what each but the first is to the one before it:
  /// kNone everywhere when data.reset_state_at_documents is off.
  void read(int64_t begin, std::span<int32_t> tokens, std::span<Border> borders) const;

  /// With data.end_token_before_windows, of a window that begins here, inside a document: that end_token() is put
  /// before it, and what its first token then is to that: kUnseen, or kNone where it does follow an end token.
  std::optional<Border> behind_put_end_token(int64_t begin) const;

  /// Whether any of the first tokens after the very first is predicted.
  bool predicts_something(int64_t within_tokens) const;
  /// Looks at about `budget_tokens` of the set, evenly from the first to the last: says when they are not the
  /// tokenizer's, when another token than its own ends documents, or another than data.end_of_document or the run's,
  /// and when nothing tells where documents begin. Throws Error(kData) when one is outside a vocabulary of vocab_size,
  /// with the size that is needed.
  std::vector<SetNote> look_at(int64_t vocab_size, int64_t budget_tokens) const;

  friend std::optional<int32_t> agree_on_end_token(std::vector<Documents>& sets);

 private:
  struct Unread {};
  Documents(TokenSet set, const DataConfig& data, std::optional<int32_t> end_token_of_run,
            std::shared_ptr<const TokenizerFacts> tokenizer, Unread);
  std::vector<SetNote> look_at_end_token() const;

  TokenSet set_;
  bool reset_, auto_, end_token_before_windows_;
  std::shared_ptr<const TokenizerFacts> tokenizer_;
  std::optional<int32_t> shown_;  ///< with data.end_of_document auto
  std::optional<int32_t> end_token_of_run_;
};

/// Opens sets on all ranks of `host`: rank 0 checks and hashes their whole indexes and looks at their borders; the
/// others read the headers and a sample of the tokens, and compare. Collective. Throws SharedError for what TokenSet
/// and Documents throw; another rank that fails, or finds other files than rank 0, is named with its host.
std::vector<Documents> open_documents(Communicator& host, const std::vector<std::string>& paths, const DataConfig& data,
                                      int64_t vocab_size, std::shared_ptr<const TokenizerFacts> tokenizer,
                                      std::optional<int32_t> end_token_of_run = std::nullopt);

/// The end token of a run that trains on these sets, at least one: with data.end_of_document auto the one that all sets
/// that show one do, if they agree. Sets that show none have it from now on.
std::optional<int32_t> agree_on_end_token(std::vector<Documents>& sets);

}  // namespace retain
