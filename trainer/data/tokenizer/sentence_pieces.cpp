#include "trainer/data/tokenizer/sentence_pieces.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <xxhash.h>

#include <unordered_map>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr size_t kPartBytes = 1 << 12;  // encoded at a time: the library's time for one grows faster than its length
constexpr std::string_view kBlank = "\xe2\x96\x81";  // U+2581, as which SentencePiece writes a blank

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const TokenizerFiles::File& model)
      : name_(model.path),
        fingerprint_(fmt::format("{:016x}", XXH3_64bits(model.contents.data(), model.contents.size()))) {
    const auto status = pieces_.LoadFromSerializedProto(model.contents);
    if (!status.ok())
      throw Error(ErrorKind::kData, concat(name_, ": is no model of SentencePiece: ", status.message()));
    if (pieces_.eos_id() < 0) {
      throw Error(ErrorKind::kData,
                  concat(name_, ": has no end of sentences (eos), which would end documents; train it with one"));
    }
    cuts_before_blanks_ = takes_text_apart_at_blanks();
    cuts_behind_newlines_ = cuts_before_blanks_ &&
                            !any_piece([](const std::string& piece) { return piece.find('\n') != std::string::npos; });
  }

  std::string_view name() const override { return name_; }
  std::string fingerprint() const override { return fingerprint_; }
  int64_t vocab_size() const override { return pieces_.GetPieceSize(); }
  int32_t end_of_document() const override { return pieces_.eos_id(); }

  std::vector<int32_t> encode(std::string_view text) const override {
    for (size_t i = 0; i < text.size();) {
      const size_t length = utf8_length(text, i);
      if (length == 0)
        throw Error(ErrorKind::kData, concat(name_, ": encodes UTF-8 alone, which byte ", i, " of the text is not"));
      i += length;
    }
    std::vector<int32_t> tokens;
    for (size_t part = kPartBytes; !text.empty();) {
      const bool whole = part >= text.size();
      const size_t length = whole ? text.size() : cut(text.substr(0, part));
      if (length == 0) {
        part *= 2;
        continue;
      }
      encode_part(text.substr(0, length), tokens);
      text.remove_prefix(length);
      part = kPartBytes;
    }
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    std::vector<int> ids;
    for (const int32_t token : tokens) {
      if (token < 0 || token >= vocab_size())
        throw Error(ErrorKind::kData, concat("token ", token, " is none of the tokenizer ", in_quotes(name_), " (0 to ",
                                             vocab_size() - 1, ")"));
      if (!pieces_.IsControl(token)) ids.push_back(token);
    }
    std::string text;
    const auto status = pieces_.Decode(ids, &text);
    if (!status.ok()) throw Error(ErrorKind::kData, concat(name_, ": cannot be decoded: ", status.message()));
    return text;
  }

  std::optional<int64_t> text_bytes(int32_t token) const override {
    if (token < 0 || token >= vocab_size()) return std::nullopt;
    if (pieces_.IsControl(token)) return 0;
    if (pieces_.IsByte(token)) return 1;
    const std::string& piece = pieces_.IdToPiece(token);
    auto bytes = static_cast<int64_t>(piece.size());
    for (size_t at = piece.find(kBlank); at != std::string::npos; at = piece.find(kBlank, at + kBlank.size())) {
      bytes -= static_cast<int64_t>(kBlank.size()) - 1;
    }
    return bytes;
  }

  size_t cut(std::string_view text) const override {
    if (!cuts_before_blanks_) return 0;
    for (size_t at = text.size(); at > 0; --at) {
      const bool before_blank = at < text.size() && text[at] == ' ' && text[at - 1] != ' ';
      if (before_blank || (cuts_behind_newlines_ && text[at - 1] == '\n')) return at;
    }
    return 0;
  }

 private:
  void encode_part(std::string_view text, std::vector<int32_t>& tokens) const {
    std::vector<int32_t> more;
    const auto status = pieces_.Encode(text, &more);
    if (!status.ok()) throw Error(ErrorKind::kData, concat(name_, ": text cannot be encoded: ", status.message()));
    tokens.insert(tokens.end(), more.begin(), more.end());
  }

  /// Whether text may be encoded in parts that begin with blanks: nothing is put before it or taken out of it, and no
  /// piece goes on behind a character with a blank.
  bool takes_text_apart_at_blanks() const {
    constexpr const char* kText = "  a  b ";
    if (decode(encode(kText)) != kText || encode("a").empty() || encode("a a") == encode("a  a")) return false;
    if (pieces_.IdToPiece(encode("a").front()).starts_with(kBlank)) return false;
    return !any_piece([](const std::string& piece) {
      size_t at = 0;
      while (piece.compare(at, kBlank.size(), kBlank) == 0) at += kBlank.size();
      return piece.find(kBlank, at) != std::string::npos;
    });
  }

  bool any_piece(const std::function<bool(const std::string&)>& is_so) const {
    for (int32_t token = 0; token < vocab_size(); ++token)
      if (is_so(pieces_.IdToPiece(token))) return true;
    return false;
  }

  std::string name_, fingerprint_;
  sentencepiece::SentencePieceProcessor pieces_;
  bool cuts_before_blanks_ = false, cuts_behind_newlines_ = false;
};

class Lines final : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::function<std::optional<std::string>()>& next) : next_(next) { Next(); }
  bool done() const override { return !line_; }
  void Next() override { line_ = next_(); }
  const std::string& value() const override { return *line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::function<std::optional<std::string>()>& next_;
  std::optional<std::string> line_;
};

}  // namespace

bool have_sentence_pieces() { return true; }

std::unique_ptr<Tokenizer> load_sentence_pieces(const TokenizerFiles::File& model) {
  return std::make_unique<SentencePieceTokenizer>(model);
}

std::string train_sentence_pieces(const std::function<std::optional<std::string>()>& next_line, int64_t vocab_size) {
  const std::unordered_map<std::string, std::string> settings = {{"model_type", "bpe"},
                                                                 {"vocab_size", std::to_string(vocab_size)},
                                                                 {"byte_fallback", "true"},
                                                                 {"character_coverage", "0.9999"},
                                                                 {"normalization_rule_name", "identity"},
                                                                 {"add_dummy_prefix", "false"},
                                                                 {"remove_extra_whitespaces", "false"},
                                                                 {"allow_whitespace_only_pieces", "true"},
                                                                 {"split_digits", "true"},
                                                                 {"unk_id", "0"},
                                                                 {"eos_id", "1"},
                                                                 {"eos_piece", "<|endoftext|>"},
                                                                 {"bos_id", "-1"},
                                                                 {"pad_id", "-1"},
                                                                 {"max_sentence_length", "1048576"},
                                                                 {"minloglevel", "2"}};
  Lines lines(next_line);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &lines, &model);
  if (!status.ok()) throw Error(ErrorKind::kData, concat("the tokenizer cannot be trained: ", status.message()));
  return model;
}

}  // namespace retain
