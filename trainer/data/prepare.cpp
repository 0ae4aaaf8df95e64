#include "trainer/data/prepare.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <istream>
#include <limits>
#include <optional>
#include <string_view>
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

constexpr int64_t kTokenBlock = 1 << 18;
constexpr size_t kPartBytes = 1 << 17;  // of text, encoded by one thread at a time, or more

void create_parent_folder(const std::string& prefix) {
  const auto folder = std::filesystem::path(prefix).parent_path();
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat(folder.string(), ": cannot create: ", error.message()));
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
/// these in their order. So neither tokens nor messages depend on the number of threads, nor on how often the work was
/// interrupted: the pieces of an input are a function of its text, and those that became tokens before are only
/// counted.
class Preparation {
 public:
  /// Goes on from `state`, behind whose tokens the writer stands.
  Preparation(const Tokenizer& tokenizer, const PrepareOptions& options, std::span<const InputFile> inputs,
              TokenWriter& writer, PrepareFolder& folder, PrepareState state);

  /// Reads and writes all that is left.
  void run();
  const PrepareState& state() const { return state_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Part = std::vector<Encoded>;
  /// A document, or a piece of one.
  struct Piece {
    std::string text;
    bool ends_document = true;
    std::string place = {};
  };
  struct Working {
    std::future<Part> part;
    InputPlace after;  ///< where the inputs are when it is written
  };
  void add(const InputFile& input);
  void add_document(std::istream& stream, const std::string& name);    ///< streams it
  void add_json_lines(std::istream& stream, const std::string& name);  ///< a document a line
  /// Counts a piece of the input that is being read; false where it became tokens before.
  bool is_new(std::string_view text);
  void end_input(const InputFile& input);
  [[noreturn]] void refuse_other_text() const;
  void tell_progress() const;

  Encoded encode_piece(const Piece& piece) const;
  /// Takes a piece of plain text; small ones are encoded together.
  void add(Piece piece);
  void encode_pending();
  /// Begins work on a part, behind which the inputs are at `after`; waits where too many are being worked on.
  void encode(std::function<Part()> work, const InputPlace& after);
  /// Writes what is still being encoded.
  void finish();
  void write_oldest();
  void write(const Encoded& encoded);
  void keep();

  const Tokenizer& tokenizer_;
  const PrepareOptions& options_;
  std::span<const InputFile> inputs_;
  TokenWriter& writer_;
  PrepareFolder& folder_;
  PrepareState state_;        ///< of what is written
  const InputPlace resumed_;  ///< before it everything was written by an earlier attempt
  InputPlace reading_;        ///< so far inputs were read
  InputPlace pending_after_;  ///< so far with pending_
  int64_t read_bytes_ = 0, input_bytes_ = 0, total_bytes_ = 0;  ///< of inputs before; of this one; of all
  std::vector<Piece> pending_;
  size_t pending_bytes_ = 0;
  std::deque<Working> parts_;
  Clock::time_point kept_ = Clock::now();
};

Preparation::Preparation(const Tokenizer& tokenizer, const PrepareOptions& options, std::span<const InputFile> inputs,
                         TokenWriter& writer, PrepareFolder& folder, PrepareState state)
    : tokenizer_(tokenizer),
      options_(options),
      inputs_(inputs),
      writer_(writer),
      folder_(folder),
      state_(std::move(state)),
      resumed_(state_.place),
      reading_{.inputs = resumed_.inputs} {
  bool known = true;
  for (const InputFile& input : inputs) {
    total_bytes_ += input.bytes;
    known = known && !input.is_stream();
  }
  if (!known) total_bytes_ = 0;
  for (const InputFile& input : inputs.first(static_cast<size_t>(resumed_.inputs))) read_bytes_ += input.bytes;
}

void Preparation::run() {
  const Outcome read = attempt([&] {
    while (reading_.inputs < std::ssize(inputs_)) {
      const InputFile& input = inputs_[static_cast<size_t>(reading_.inputs)];
      add(input);
      end_input(input);
    }
  });
  finish();  // what is wrong in a part before comes first
  read.throw_if_failed();
  state_.place = reading_;
  if (options_.holdout_fraction > 0) keep();  // there is more to do
}

void Preparation::add(const InputFile& input) {
  const std::string name = name_of(input);
  std::optional<Error> unusable = input.unusable;
  const bool may_leave_out = options_.skip_bad > 0 && input.found && !input.json_lines;
  if (!unusable && may_leave_out) unusable = why_no_text(input, options_.encoding);
  if (unusable) {
    if (reading_.inputs == resumed_.inputs && resumed_.pieces > 0)
      throw Error(ErrorKind::kData, concat(unusable->what(), " (a part of it is among the tokens already; remove ",
                                           folder_.path(), " to begin anew without it)"));
    encode_pending();
    return encode([error = *unusable] { return Part{{.bad_line = error}}; }, {.inputs = reading_.inputs + 1});
  }
  read_input(input, [&](std::istream& stream) {
    input.json_lines ? add_json_lines(stream, name) : add_document(stream, name);
  });
}

bool Preparation::is_new(std::string_view text) {
  input_bytes_ += static_cast<int64_t>(text.size());
  tell_progress();
  reading_.text_hash = XXH3_64bits_withSeed(text.data(), text.size(), reading_.text_hash);
  ++reading_.pieces;
  if (reading_.inputs > resumed_.inputs || reading_.pieces > resumed_.pieces) return true;
  if (reading_.pieces == resumed_.pieces && reading_.text_hash != resumed_.text_hash) refuse_other_text();
  return false;
}

void Preparation::end_input(const InputFile& input) {
  if (reading_.inputs == resumed_.inputs && reading_.pieces < resumed_.pieces) refuse_other_text();
  reading_ = {.inputs = reading_.inputs + 1};
  if (!pending_.empty()) pending_after_ = reading_;
  read_bytes_ += std::max(input.bytes, std::exchange(input_bytes_, 0));
}

void Preparation::refuse_other_text() const {
  throw Error(ErrorKind::kData,
              concat(name_of(inputs_[static_cast<size_t>(reading_.inputs)]),
                     ": is another text than the one that was begun with; remove ", folder_.path(), " to begin anew"));
}

void Preparation::tell_progress() const {
  options_.progress(
      {.read_bytes = read_bytes_ + input_bytes_, .total_bytes = total_bytes_, .tokens = writer_.tokens()});
}

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
  pending_after_ = reading_;
  if (pending_bytes_ >= kPartBytes) encode_pending();
}

void Preparation::encode_pending() {
  if (pending_.empty()) return;
  pending_bytes_ = 0;
  auto work = [this, pieces = std::exchange(pending_, {})] {
    Part part;
    for (const Piece& piece : pieces) part.push_back(encode_piece(piece));
    return part;
  };
  encode(std::move(work), pending_after_);
}

void Preparation::encode(std::function<Part()> work, const InputPlace& after) {
  while (std::ssize(parts_) >= options_.threads) write_oldest();
  parts_.push_back({std::async(std::launch::async, std::move(work)), after});
}

void Preparation::finish() {
  encode_pending();
  while (!parts_.empty()) write_oldest();
}

void Preparation::write_oldest() {
  Working oldest = std::move(parts_.front());
  parts_.pop_front();
  try {
    for (const Encoded& encoded : oldest.part.get()) write(encoded);
    state_.place = oldest.after;
    if (std::chrono::duration<double>(Clock::now() - kept_).count() >= options_.keep_seconds) keep();
  } catch (...) {
    parts_.clear();  // what is wrong in those that follow comes too late
    throw;
  }
}

void Preparation::write(const Encoded& encoded) {
  if (encoded.bad_line) {
    const Error& error = *encoded.bad_line;
    if (options_.skip_bad == 0) throw error;
    if (state_.bad_lines.count >= options_.skip_bad) {
      throw Error(error.kind(), concat(error.what(), " (", state_.bad_lines.count, " bad lines were left out before)"));
    }
    return state_.bad_lines.add(error.what());
  }
  writer_.append(encoded.tokens);
  state_.text_bytes += encoded.text_bytes;
  state_.document_bytes += encoded.text_bytes;
  if (!encoded.ends_document) return;
  if (std::exchange(state_.document_bytes, 0) == 0) return state_.empty_documents.add(encoded.place);
  const int32_t end = tokenizer_.end_of_document();
  writer_.append(std::span(&end, 1));
  writer_.end_document();
}

void Preparation::keep() {
  state_.tokens = writer_.keep();
  folder_.keep(state_, inputs_);
  kept_ = Clock::now();
}

void Preparation::add_document(std::istream& stream, const std::string& name) {
  TextReader reader(stream, name, options_.encoding);
  std::string pending;  // read but not encoded: what follows may change its tokens
  while (reader.read(pending)) {
    const size_t cut = tokenizer_.cut(pending);
    std::string rest = pending.substr(cut);
    pending.resize(cut);
    Piece piece{.text = std::exchange(pending, std::move(rest)), .ends_document = false, .place = name};
    if (is_new(piece.text)) add(std::move(piece));
  }
  if (is_new(pending)) add({.text = std::move(pending), .place = name});
}

void Preparation::add_json_lines(std::istream& stream, const std::string& name) {
  encode_pending();  // which comes before
  for_each_lines(stream, name, options_.encoding, [this](JsonLines lines) {
    if (!is_new(lines.text)) return;
    auto work = [this, lines = std::move(lines)] {
      Part part;
      lines.for_each(
          options_.text_key.value_or("text"),
          [&](int64_t number, const std::string& text) {
            part.push_back(encode_piece({.text = text, .place = concat(lines.name, ":", number)}));
          },
          [&](const Error& error) { part.push_back({.bad_line = error}); });
      return part;
    };
    encode(std::move(work), reading_);
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

/// Tokens [begin, end) of a set, as documents, to a set of their own, with its parts in the folder.
PreparedSet copy_tokens(const TokenSet& from, int64_t begin, int64_t end, const std::string& prefix,
                        const std::string& parts, const Tokenizer& tokenizer) {
  TokenWriter writer(prefix, tokenizer.vocab_size(), parts, TokensKept{});
  std::vector<int32_t> block;
  for (int64_t at = begin; at < end; at += kTokenBlock) {
    block.resize(static_cast<size_t>(std::min(kTokenBlock, end - at)));
    from.read(at, block);
    int64_t done = at;
    for (const int64_t border : from.document_begins(at, at + std::ssize(block))) {
      writer.append(std::span(block).subspan(static_cast<size_t>(done - at), static_cast<size_t>(border - done)));
      writer.end_document();
      done = border;
    }
    writer.append(std::span(block).subspan(static_cast<size_t>(done - at)));
  }
  return finish(writer, prefix, tokenizer);
}

/// Where the last `held_out` tokens begin, or the document that begins nearest to there, if it is not farther away than
/// half as many.
int64_t begin_of_holdout(const TokenSet& set, int64_t held_out) {
  const int64_t wish = set.tokens() - held_out, reach = held_out / 2;
  const std::vector<int64_t> near =
      set.document_begins(std::max<int64_t>(wish - reach, 1), std::min(wish + reach + 1, set.tokens()));
  const auto distance = [&](int64_t border) { return std::abs(border - wish); };
  const auto nearest = std::ranges::min_element(near, {}, distance);
  return nearest == near.end() ? wish : *nearest;
}

uint64_t rules_of(const Tokenizer& tokenizer, const PrepareOptions& options) {
  const std::string rules = concat(tokenizer.fingerprint(), "\n", options.encoding, "\n",
                                   options.text_key ? concat("key ", *options.text_key) : std::string("no key"));
  return XXH3_64bits(rules.data(), rules.size());
}

/// Writes the set of all inputs, whose parts are in the folder; goes on where an earlier attempt was.
PrepareSummary write_whole(std::span<const InputFile> inputs, const std::string& prefix, const Tokenizer& tokenizer,
                           const PrepareOptions& options, PrepareFolder& folder) {
  const std::string parts = folder.file("whole");
  const auto summary_of = [](const PrepareState& state) {
    return PrepareSummary{
        .text_bytes = state.text_bytes, .empty_documents = state.empty_documents, .bad_lines = state.bad_lines};
  };
  PrepareState state;
  std::optional<TokenWriter> writer;
  if (const std::optional<PrepareState> kept = folder.read(inputs, options.say)) {
    const bool finished = kept->place.inputs == std::ssize(inputs) && std::filesystem::exists(parts + ".idx");
    if (finished && prefix == parts) return summary_of(*kept);
    const Outcome opened = attempt([&] { writer.emplace(prefix, tokenizer.vocab_size(), parts, kept->tokens); });
    if (opened.ok) {
      state = *kept;
      options.say(concat("goes on where ", folder.path(), " was: ", state.place.inputs, " of ", inputs.size(),
                         " inputs, ", state.text_bytes, " bytes of text are done"));
    } else {
      options.say(concat(opened.message, ": begins anew"));
      folder.forget();
    }
  }
  if (!writer) {
    std::filesystem::remove(parts + ".idx");  // of an attempt with other inputs: it would look finished
    writer.emplace(prefix, tokenizer.vocab_size(), parts, TokensKept{});
  }
  Preparation preparation(tokenizer, options, inputs, *writer, folder, std::move(state));
  preparation.run();
  state = preparation.state();
  if (state.text_bytes == 0) throw Error(ErrorKind::kData, concat(inputs.size(), " inputs hold no text"));
  PrepareSummary summary = summary_of(state);
  summary.sets = {finish(*writer, prefix, tokenizer)};
  return summary;
}

}  // namespace

namespace {

/// Whether a file that was found is of the set that is prepared, or of a preparation of it: the folder of the inputs
/// may hold the output too.
bool is_of_set(const std::string& found, const std::string& out_prefix) {
  const std::string path = std::filesystem::weakly_canonical(found).string(),
                    prefix = std::filesystem::weakly_canonical(out_prefix).string();
  if (path.starts_with(prefix + ".part/")) return true;
  for (const char* const part : {"", "_train", "_valid"})
    for (const char* const ending : {".bin", ".idx", ".tokens.json"})
      if (path == prefix + part + ending) return true;
  return false;
}

}  // namespace

PrepareSummary prepare_tokens(std::span<const std::string> inputs, const std::string& out, const Tokenizer& tokenizer,
                              const PrepareOptions& options) {
  const std::string out_prefix = token_set_prefix(out);
  const double holdout_fraction = options.holdout_fraction;
  if (!(holdout_fraction >= 0 && holdout_fraction < 1)) {
    throw Error(ErrorKind::kConfig, concat("holdout: got ", holdout_fraction, ", want a fraction in [0, 1)"));
  }
  std::vector<InputFile> files = list_inputs(inputs, options.text_key);
  std::erase_if(files, [&](const InputFile& file) { return file.found && is_of_set(file.path, out_prefix); });
  if (files.empty()) throw Error(ErrorKind::kMissingInput, "no input but what is prepared itself");
  create_parent_folder(out_prefix);
  PrepareFolder folder(out_prefix, rules_of(tokenizer, options));
  // How many tokens there are is known only after all inputs were read, and standard input is read once.
  const std::string whole = holdout_fraction == 0 ? out_prefix : folder.file("whole");
  PrepareSummary summary = write_whole(files, whole, tokenizer, options, folder);
  if (holdout_fraction > 0) {
    const TokenSet set(whole);
    const int64_t held_out = std::llround(holdout_fraction * static_cast<double>(set.tokens()));
    if (held_out == 0 || held_out == set.tokens()) {
      folder.remove();
      throw Error(ErrorKind::kData,
                  concat("holdout ", holdout_fraction, " of ", set.tokens(), " tokens leaves ", held_out,
                         " tokens for validation and ", set.tokens() - held_out, " for training"));
    }
    const int64_t cut = begin_of_holdout(set, held_out);
    summary.document_cut = set.document_begins(cut, cut + 1).empty();
    summary.sets = {copy_tokens(set, 0, cut, out_prefix + "_train", folder.file("train"), tokenizer),
                    copy_tokens(set, cut, set.tokens(), out_prefix + "_valid", folder.file("valid"), tokenizer)};
  }
  folder.remove();
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
