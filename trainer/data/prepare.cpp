#include "trainer/data/prepare.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <istream>
#include <limits>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"
#include "parallel/agreement.h"
#include "trainer/data/text_inputs.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/token_origin.h"
#include "trainer/data/token_writer.h"

namespace retain {
namespace {

constexpr size_t kMostNamed = 8;  // of what is left out
constexpr int64_t kTokenBlock = 1 << 18;
constexpr size_t kPartBytes = 1 << 17;  // of text, encoded by one thread at a time, or more

void create_parent_folder(const std::string& prefix) {
  const auto folder = std::filesystem::path(prefix).parent_path();
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat(folder.string(), ": cannot create: ", error.message()));
}

void leave_out(LeftOut& left_out, const std::string& what) {
  if (left_out.first.size() < kMostNamed) left_out.first.push_back(what);
  ++left_out.count;
}

/// What became of a part of the inputs: the tokens of a document or of a piece of one, or why there are none.
struct Encoded {
  std::vector<int32_t> tokens = {};
  int64_t text_bytes = 0;
  bool ends_document = true;
  std::string place = {};  ///< of the document
  std::optional<Error> bad_line = {};
};

/// What turns inputs into tokens: this thread reads them, others encode parts of them, and this one writes what came of
/// these in their order. So neither tokens nor messages depend on the number of threads.
class Preparation {
 public:
  Preparation(const Tokenizer& tokenizer, const PrepareOptions& options, TokenWriter& writer, PrepareSummary& summary)
      : tokenizer_(tokenizer), options_(options), writer_(writer), summary_(summary) {}

  void add_document(std::istream& stream, const std::string& name);    ///< streams it
  void add_json_lines(std::istream& stream, const std::string& name);  ///< a document a line
  /// Writes what is still being encoded.
  void finish() {
    encode_pending();
    while (!parts_.empty()) write_oldest();
  }

 private:
  using Part = std::vector<Encoded>;
  /// A document, or a piece of one.
  struct Piece {
    std::string text;
    bool ends_document = true;
    std::string place = {};
  };
  Encoded encode_piece(const Piece& piece) const;
  /// Takes a piece of plain text; small ones are encoded together.
  void add(Piece piece);
  void encode_pending();
  /// Begins work on a part; waits where too many are being worked on.
  void encode(std::function<Part()> work);
  void write_oldest();
  void write(const Encoded& encoded);

  const Tokenizer& tokenizer_;
  const PrepareOptions& options_;
  TokenWriter& writer_;
  PrepareSummary& summary_;
  std::vector<Piece> pending_;
  size_t pending_bytes_ = 0;
  int64_t document_bytes_ = 0;  ///< of the document that is being written
  std::deque<std::future<Part>> parts_;
};

Encoded Preparation::encode_piece(const Piece& piece) const {
  Encoded encoded{.text_bytes = static_cast<int64_t>(piece.text.size()),
                  .ends_document = piece.ends_document,
                  .place = piece.place};
  const Outcome outcome = attempt([&] { encoded.tokens = tokenizer_.encode(piece.text); });
  if (!outcome.ok) throw Error(outcome.kind, concat(piece.place, ": ", outcome.message));
  return encoded;
}

void Preparation::add(Piece piece) {
  pending_bytes_ += piece.text.size();
  pending_.push_back(std::move(piece));
  if (pending_bytes_ >= kPartBytes) encode_pending();
}

void Preparation::encode_pending() {
  if (pending_.empty()) return;
  pending_bytes_ = 0;
  encode([this, pieces = std::exchange(pending_, {})] {
    Part part;
    for (const Piece& piece : pieces) part.push_back(encode_piece(piece));
    return part;
  });
}

void Preparation::encode(std::function<Part()> work) {
  while (std::ssize(parts_) >= options_.threads) write_oldest();
  parts_.push_back(std::async(std::launch::async, std::move(work)));
}

void Preparation::write_oldest() {
  std::future<Part> oldest = std::move(parts_.front());
  parts_.pop_front();
  try {
    for (const Encoded& encoded : oldest.get()) write(encoded);
  } catch (...) {
    parts_.clear();  // what is wrong in those that follow comes too late
    throw;
  }
}

void Preparation::write(const Encoded& encoded) {
  if (encoded.bad_line) {
    const Error& error = *encoded.bad_line;
    if (options_.skip_bad == 0) throw error;
    if (summary_.bad_lines.count == options_.skip_bad) {
      throw Error(error.kind(), concat(error.what(), " (", options_.skip_bad, " bad lines were left out before)"));
    }
    return leave_out(summary_.bad_lines, error.what());
  }
  writer_.append(encoded.tokens);
  summary_.text_bytes += encoded.text_bytes;
  document_bytes_ += encoded.text_bytes;
  if (!encoded.ends_document) return;
  if (std::exchange(document_bytes_, 0) == 0) return leave_out(summary_.empty_documents, encoded.place);
  const int32_t end = tokenizer_.end_of_document();
  writer_.append(std::span(&end, 1));
  writer_.end_document();
}

void Preparation::add_document(std::istream& stream, const std::string& name) {
  TextReader reader(stream, name, options_.encoding);
  std::string pending;  // read but not encoded: what follows may change its tokens
  while (reader.read(pending)) {
    const size_t cut = tokenizer_.cut(pending);
    std::string rest = pending.substr(cut);
    pending.resize(cut);
    add({.text = std::exchange(pending, std::move(rest)), .ends_document = false, .place = name});
  }
  add({.text = std::move(pending), .place = name});
}

void Preparation::add_json_lines(std::istream& stream, const std::string& name) {
  encode_pending();  // which comes before
  for_each_lines(stream, name, options_.encoding, [this](JsonLines lines) {
    encode([this, lines = std::move(lines)] {
      Part part;
      lines.for_each(
          options_.text_key.value_or("text"),
          [&](int64_t number, const std::string& text) {
            part.push_back(encode_piece({.text = text, .place = concat(lines.name, ":", number)}));
          },
          [&](const Error& error) { part.push_back({.bad_line = error}); });
      return part;
    });
  });
}

/// Gives the set its name; what is said of an earlier one there goes before it, and of this one comes after it.
PreparedSet finish(TokenWriter& writer, const std::string& prefix, const Tokenizer& tokenizer) {
  std::error_code ignored;
  std::filesystem::remove(origin_file(prefix), ignored);
  writer.finish();
  write_token_origin(prefix, writer.tokens(), writer.documents(), tokenizer);
  return {prefix, writer.tokens(), writer.documents()};
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
  return finish(writer, prefix, tokenizer);
}

/// Removes the files of a set when it goes.
class TemporarySet {
 public:
  explicit TemporarySet(std::string prefix) : prefix_(std::move(prefix)) {}
  ~TemporarySet() {
    std::error_code ignored;
    std::filesystem::remove(prefix_ + ".idx", ignored);
    std::filesystem::remove(prefix_ + ".bin", ignored);
    std::filesystem::remove(origin_file(prefix_), ignored);
  }
  TemporarySet(const TemporarySet&) = delete;
  TemporarySet& operator=(const TemporarySet&) = delete;
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
};

PrepareSummary write_whole(std::span<const std::string> inputs, const std::string& prefix, const Tokenizer& tokenizer,
                           const PrepareOptions& options) {
  TokenWriter writer(prefix, tokenizer.vocab_size());
  PrepareSummary summary;
  Preparation preparation(tokenizer, options, writer, summary);
  const Outcome read = attempt([&] {
    for_each_input(inputs, options.text_key, [&](std::istream& stream, const std::string& name, bool json_lines) {
      json_lines ? preparation.add_json_lines(stream, name) : preparation.add_document(stream, name);
    });
  });
  preparation.finish();  // what is wrong in a part before comes first
  read.throw_if_failed();
  if (summary.text_bytes == 0) throw Error(ErrorKind::kData, concat(inputs.size(), " inputs hold no text"));
  summary.sets.push_back(finish(writer, prefix, tokenizer));
  return summary;
}

}  // namespace

PrepareSummary prepare_tokens(std::span<const std::string> inputs, const std::string& out, const Tokenizer& tokenizer,
                              const PrepareOptions& options) {
  const std::string out_prefix = token_set_prefix(out);
  const double holdout_fraction = options.holdout_fraction;
  if (!(holdout_fraction >= 0 && holdout_fraction < 1)) {
    throw Error(ErrorKind::kConfig, concat("holdout: got ", holdout_fraction, ", want a fraction in [0, 1)"));
  }
  create_parent_folder(out_prefix);
  if (holdout_fraction == 0) return write_whole(inputs, out_prefix, tokenizer, options);

  // How many tokens there are is known only after all inputs were read, and standard input is read once.
  const TemporarySet whole(out_prefix + ".whole");
  PrepareSummary summary = write_whole(inputs, whole.prefix(), tokenizer, options);
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
                             .format = set.shards().front().format(),
                             .shards = std::ssize(set.shards()),
                             .smallest_token = std::numeric_limits<int32_t>::max(),
                             .fingerprint = set.fingerprint(),
                             .origin = read_token_origin(set.shards().front())};
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
