#include "trainer/data/prepare.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>

#include "kernels/core/error.h"
#include "trainer/data/token_writer.h"

namespace retain {
namespace {

constexpr size_t kTextBlockBytes = 1 << 20;
constexpr int64_t kTokenBlock = 1 << 18;

void create_parent_folder(const std::string& prefix) {
  const auto folder = std::filesystem::path(prefix).parent_path();
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat(folder.string(), ": cannot create: ", error.message()));
}

/// Streams one document of text into the writer; returns its bytes.
int64_t add_document(std::istream& text, const std::string& name, const Tokenizer& tokenizer, TokenWriter& writer) {
  int64_t bytes = 0;
  std::string pending;  // read but not encoded: what follows may change its tokens
  std::string block(kTextBlockBytes, '\0');
  while (text.read(block.data(), static_cast<std::streamsize>(block.size())) || text.gcount() > 0) {
    bytes += text.gcount();
    pending.append(block, 0, static_cast<size_t>(text.gcount()));
    const size_t cut = tokenizer.cut(pending);
    writer.append(tokenizer.encode(std::string_view(pending).substr(0, cut)));
    pending.erase(0, cut);
  }
  if (text.bad()) throw Error(ErrorKind::kIo, concat(name, ": byte ", bytes, ": cannot read"));
  writer.append(tokenizer.encode(pending));
  if (bytes == 0) return 0;
  const int32_t end = tokenizer.end_of_document();
  writer.append(std::span(&end, 1));
  writer.end_document();
  return bytes;
}

int64_t add_input(const std::string& input, const Tokenizer& tokenizer, TokenWriter& writer) {
  if (input == "-") return add_document(std::cin, "standard input", tokenizer, writer);
  if (!std::filesystem::exists(input)) throw Error(ErrorKind::kMissingInput, concat(input, ": there is no such file"));
  if (std::filesystem::is_directory(input)) throw Error(ErrorKind::kData, concat(input, ": is a folder, want a file"));
  std::ifstream file(input, std::ios::binary);
  if (!file) throw Error(ErrorKind::kIo, concat(input, ": cannot open"));
  return add_document(file, input, tokenizer, writer);
}

/// Tokens [begin, end) of a set, as documents, to a set of their own.
PreparedSet copy_tokens(const TokenSet& from, int64_t begin, int64_t end, const std::string& prefix,
                        const Tokenizer& tokenizer) {
  TokenWriter writer(prefix, tokenizer.vocab_size());
  std::vector<int32_t> block;
  for (int64_t at = begin; at < end; at += kTokenBlock) {
    block.resize(static_cast<size_t>(std::min(kTokenBlock, end - at)));
    from.read(at, block);
    std::span<const int32_t> rest = block;
    while (!rest.empty()) {
      const auto stop = std::find(rest.begin(), rest.end(), tokenizer.end_of_document());
      const bool ended = stop != rest.end();
      const auto count = static_cast<size_t>(stop - rest.begin()) + (ended ? 1 : 0);
      writer.append(rest.first(count));
      if (ended) writer.end_document();
      rest = rest.subspan(count);
    }
  }
  writer.finish();
  return {prefix, writer.tokens(), writer.documents()};
}

/// Removes the two files of a set when it goes.
class TemporarySet {
 public:
  explicit TemporarySet(std::string prefix) : prefix_(std::move(prefix)) {}
  ~TemporarySet() {
    std::error_code ignored;
    std::filesystem::remove(prefix_ + ".idx", ignored);
    std::filesystem::remove(prefix_ + ".bin", ignored);
  }
  TemporarySet(const TemporarySet&) = delete;
  TemporarySet& operator=(const TemporarySet&) = delete;
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
};

PrepareSummary write_whole(std::span<const std::string> inputs, const std::string& prefix, const Tokenizer& tokenizer) {
  TokenWriter writer(prefix, tokenizer.vocab_size());
  PrepareSummary summary;
  for (const std::string& input : inputs) summary.input_bytes += add_input(input, tokenizer, writer);
  if (summary.input_bytes == 0) throw Error(ErrorKind::kData, concat(inputs.size(), " inputs hold no text"));
  writer.finish();
  summary.sets.push_back({prefix, writer.tokens(), writer.documents()});
  return summary;
}

}  // namespace

PrepareSummary prepare_tokens(std::span<const std::string> inputs, const std::string& out_prefix,
                              const Tokenizer& tokenizer, double holdout_fraction) {
  if (!(holdout_fraction >= 0 && holdout_fraction < 1)) {
    throw Error(ErrorKind::kConfig, concat("holdout: got ", holdout_fraction, ", want a fraction in [0, 1)"));
  }
  create_parent_folder(out_prefix);
  if (holdout_fraction == 0) return write_whole(inputs, out_prefix, tokenizer);

  // How many tokens there are is known only after all inputs were read, and standard input is read once.
  const TemporarySet whole(out_prefix + ".whole");
  PrepareSummary summary = write_whole(inputs, whole.prefix(), tokenizer);
  const TokenSet set(whole.prefix());
  const int64_t held_out = std::llround(holdout_fraction * static_cast<double>(set.tokens()));
  if (held_out == 0 || held_out == set.tokens()) {
    throw Error(ErrorKind::kData,
                concat("holdout ", holdout_fraction, " of ", set.tokens(), " tokens leaves ", held_out,
                       " tokens for validation and ", set.tokens() - held_out, " for training"));
  }
  const int64_t cut = set.tokens() - held_out;
  summary.sets = {copy_tokens(set, 0, cut, out_prefix + "_train", tokenizer),
                  copy_tokens(set, cut, set.tokens(), out_prefix + "_valid", tokenizer)};
  return summary;
}

TokenSetDescription describe(const TokenSet& set, const Tokenizer& tokenizer, int64_t beginning_tokens) {
  TokenSetDescription result{.prefix = set.prefix(),
                             .tokens = set.tokens(),
                             .documents = set.documents(),
                             .bytes = set.bytes(),
                             .type = set.type(),
                             .smallest_token = std::numeric_limits<int32_t>::max(),
                             .fingerprint = set.fingerprint()};
  std::vector<int32_t> block;
  for (int64_t at = 0; at < set.tokens(); at += kTokenBlock) {
    block.resize(static_cast<size_t>(std::min(kTokenBlock, set.tokens() - at)));
    set.read(at, block);
    const auto [smallest, largest] = std::minmax_element(block.begin(), block.end());
    result.smallest_token = std::min(result.smallest_token, *smallest);
    result.largest_token = std::max(result.largest_token, *largest);
  }
  block.resize(static_cast<size_t>(std::min(beginning_tokens, set.tokens())));
  set.read(0, block);
  if (result.largest_token < tokenizer.vocab_size()) result.beginning = tokenizer.decode(block);
  return result;
}

}  // namespace retain
