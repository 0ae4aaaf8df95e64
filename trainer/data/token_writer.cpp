#include "trainer/data/token_writer.h"

#include <algorithm>
#include <filesystem>

#include "kernels/core/error.h"

namespace retain {
namespace {

constexpr int64_t kUint16Vocabulary = 65500;

template <class T>
void put(OutputFile& file, const T& value) {
  file.write(std::as_bytes(std::span(&value, 1)));
}

TokenType type_for(int64_t vocab_size) {
  return vocab_size < kUint16Vocabulary ? TokenType::kUint16 : TokenType::kInt32;
}

}  // namespace

TokenWriter::TokenWriter(const std::string& prefix, int64_t vocab_size, int64_t max_sequence_tokens)
    : type_(type_for(vocab_size)),
      vocab_size_(vocab_size),
      max_sequence_tokens_(max_sequence_tokens),
      idx_(prefix + ".idx"),
      bin_(prefix + ".bin") {}

TokenWriter::TokenWriter(const std::string& prefix, int64_t vocab_size, const std::string& parts,
                         const TokensKept& kept, int64_t max_sequence_tokens)
    : type_(type_for(vocab_size)),
      vocab_size_(vocab_size),
      max_sequence_tokens_(max_sequence_tokens),
      idx_(prefix + ".idx", parts + ".index", 0),
      bin_(prefix + ".bin", parts + ".tokens", kept.tokens * token_type_bytes(type_)) {
  const std::string sequences = parts + ".sequences";
  sequences_.emplace(sequences, sequences, kept.sequences * 4);
  restore(sequences, kept);
}

void TokenWriter::restore(const std::string& file, const TokensKept& kept) {
  tokens_ = kept.tokens;
  open_tokens_ = kept.open_tokens;
  kept_sequences_ = kept.sequences;
  lengths_.resize(static_cast<size_t>(kept.sequences));
  File::open(file).read(lengths_.data(), kept.sequences * 4, 0);
  for (size_t i = 0; i < lengths_.size(); ++i) {
    const bool ends_document = lengths_[i] >= 0;
    if (ends_document) documents_.push_back(static_cast<int64_t>(i) + 1);
    if (!ends_document) lengths_[i] = ~lengths_[i];
  }
}

TokensKept TokenWriter::keep() {
  const auto sequences = static_cast<int64_t>(lengths_.size());
  auto boundary = std::upper_bound(documents_.begin(), documents_.end(), kept_sequences_);
  for (int64_t i = kept_sequences_; i < sequences; ++i) {
    const bool ends_document = boundary != documents_.end() && *boundary == i + 1;
    if (ends_document) ++boundary;
    const int32_t length = lengths_[static_cast<size_t>(i)];
    put(*sequences_, ends_document ? length : ~length);
  }
  kept_sequences_ = sequences;
  bin_.sync();
  sequences_->sync();
  return {.tokens = tokens_, .sequences = sequences, .open_tokens = open_tokens_};
}

void TokenWriter::append(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    RETAIN_CHECK(token >= 0 && token < vocab_size_, bin_.path(), ": token ", token, " outside a vocabulary of ",
                 vocab_size_);
  }
  if (type_ == TokenType::kUint16) {
    const std::vector<uint16_t> narrow(tokens.begin(), tokens.end());
    bin_.write(std::as_bytes(std::span(narrow)));
  } else {
    bin_.write(std::as_bytes(tokens));
  }
  tokens_ += static_cast<int64_t>(tokens.size());
  for (auto left = static_cast<int64_t>(tokens.size()); left > 0;) {
    if (open_tokens_ == max_sequence_tokens_) {
      lengths_.push_back(static_cast<int32_t>(open_tokens_));
      open_tokens_ = 0;
    }
    const int64_t part = std::min(left, max_sequence_tokens_ - open_tokens_);
    open_tokens_ += part;
    left -= part;
  }
}

void TokenWriter::end_document() {
  if (open_tokens_ == 0) return;
  lengths_.push_back(static_cast<int32_t>(open_tokens_));
  open_tokens_ = 0;
  documents_.push_back(static_cast<int64_t>(lengths_.size()));
}

void TokenWriter::finish() {
  end_document();
  if (tokens_ == 0) throw Error(ErrorKind::kData, concat(bin_.path(), ": there is no token to write"));
  write_index();
  bin_.sync();
  idx_.sync();
  // An index never lies beside tokens that are not its own: the old one goes first, the new one comes last.
  std::error_code ignored;
  std::filesystem::remove(idx_.path(), ignored);
  bin_.publish();
  idx_.publish();
}

void TokenWriter::write_index() {
  idx_.write(std::as_bytes(std::span(TokenIndexHeader::kMagic)));
  put(idx_, TokenIndexHeader::kVersion);
  put(idx_, static_cast<uint8_t>(type_));
  put(idx_, static_cast<uint64_t>(lengths_.size()));
  put(idx_, static_cast<uint64_t>(documents_.size()));
  idx_.write(std::as_bytes(std::span(lengths_)));
  int64_t offset = 0;
  for (const int32_t length : lengths_) {
    put(idx_, offset);
    offset += length * token_type_bytes(type_);
  }
  idx_.write(std::as_bytes(std::span(documents_)));
}

}  // namespace retain
