#include "trainer/data/prepare.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/token_writer.h"

namespace retain {
namespace {

constexpr size_t kMostNamed = 8;  // of what is left out
constexpr int64_t kTokenBlock = 1 << 18;
constexpr const char* kSkipsBad = "--skip-bad N leaves up to N such lines out";

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

/// Why the text of a line is no JSON.
std::string complaint(const nlohmann::json::parse_error& error) {
  const std::string_view what = error.what();
  return concat("byte ", error.byte,
                what.find("surrogate U+") != std::string_view::npos
                    ? ": half of a surrogate pair (\\ud800 to \\udfff) is no character"
                    : ": not valid JSON; each line must be one whole object");
}

/// The text in a line of JSONL; the line is number `number` of the file `name`.
std::string text_of_line(const std::string& line, const std::string& text_key, const std::string& name, int64_t number,
                         Utf8Checker& utf8) {
  const auto refuse = [&](const auto&... why) {
    return Error(ErrorKind::kData, concat(name, ":", number, ": ", why...));
  };
  utf8.check(line, number, 0);
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    throw refuse(complaint(error));
  } catch (const nlohmann::json::out_of_range&) {
    throw refuse("holds a number that is out of range");
  }
  if (!object.is_object()) throw refuse("holds no object but ", object.type_name());
  const auto text = object.find(text_key);
  if (text == object.end()) {
    constexpr size_t kNamedKeys = 8;
    std::string keys;
    size_t named = 0;
    for (const auto& [key, value] : object.items()) {
      if (named++ < kNamedKeys) keys += (keys.empty() ? "" : ", ") + in_quotes(key);
    }
    if (keys.empty()) throw refuse("the object is empty");
    throw refuse("has no ", in_quotes(text_key), " but ", keys, named > kNamedKeys ? ", ..." : "",
                 " (--text-key names the one to take)");
  }
  if (!text->is_string()) throw refuse(in_quotes(text_key), " is ", text->type_name(), ", want a string");
  return std::move(text->get_ref<std::string&>());
}

/// What turns inputs into tokens, one after the other.
class Preparation {
 public:
  Preparation(const Tokenizer& tokenizer, const PrepareOptions& options, TokenWriter& writer, PrepareSummary& summary)
      : tokenizer_(tokenizer), options_(options), writer_(writer), summary_(summary) {}

  void add_document(std::istream& stream, const std::string& name);    ///< streams it
  void add_json_lines(std::istream& stream, const std::string& name);  ///< a document a line

 private:
  void add_json_line(const std::string& line, const std::string& name, int64_t number, Utf8Checker& utf8);
  void end_document() {
    const int32_t end = tokenizer_.end_of_document();
    writer_.append(std::span(&end, 1));
    writer_.end_document();
  }

  const Tokenizer& tokenizer_;
  const PrepareOptions& options_;
  TokenWriter& writer_;
  PrepareSummary& summary_;
};

void Preparation::add_document(std::istream& stream, const std::string& name) {
  TextReader reader(stream, name, options_.encoding);
  int64_t text_bytes = 0;
  std::string pending;  // read but not encoded: what follows may change its tokens
  while (reader.read(pending)) {
    const size_t cut = tokenizer_.cut(pending);
    writer_.append(tokenizer_.encode(std::string_view(pending).substr(0, cut)));
    text_bytes += static_cast<int64_t>(cut);
    pending.erase(0, cut);
  }
  writer_.append(tokenizer_.encode(pending));
  text_bytes += static_cast<int64_t>(pending.size());
  summary_.text_bytes += text_bytes;
  if (text_bytes > 0) {
    end_document();
  } else {
    leave_out(summary_.empty_documents, name);
  }
}

void Preparation::add_json_lines(std::istream& stream, const std::string& name) {
  if (options_.encoding == "bytes")
    throw Error(ErrorKind::kUsage,
                concat(name, ": is JSONL, whose text has an encoding; --encoding bytes is for plain text"));
  TextReader reader(stream, name, options_.encoding, Utf8Check::kLater);  // a line at a time
  Utf8Checker utf8(name, kSkipsBad, kSkipsBad);
  int64_t number = 0;
  std::string text;
  size_t searched = 0;  // bytes without a newline
  while (reader.read(text)) {
    size_t begin = 0;
    for (size_t end = text.find('\n', searched); end != std::string::npos; end = text.find('\n', begin)) {
      add_json_line(text.substr(begin, end - begin), name, ++number, utf8);
      begin = end + 1;
    }
    text.erase(0, begin);
    searched = text.size();
  }
  add_json_line(text, name, ++number, utf8);
}

void Preparation::add_json_line(const std::string& line, const std::string& name, int64_t number, Utf8Checker& utf8) {
  if (line.find_first_not_of(" \t\r") == std::string::npos) return;
  std::string text;
  try {
    text = text_of_line(line, options_.text_key.value_or("text"), name, number, utf8);
  } catch (const Error& error) {
    if (options_.skip_bad == 0) throw;
    if (summary_.bad_lines.count == options_.skip_bad) {
      throw Error(error.kind(), concat(error.what(), " (", options_.skip_bad, " bad lines were left out before)"));
    }
    return leave_out(summary_.bad_lines, error.what());
  }
  if (text.empty()) return leave_out(summary_.empty_documents, concat(name, ":", number));
  writer_.append(tokenizer_.encode(text));
  end_document();
  summary_.text_bytes += static_cast<int64_t>(text.size());
}

/// Whether the file of this name is read as JSONL; refuses what would become tokens without being text.
bool is_json_lines(const std::string& input, const std::optional<std::string>& text_key) {
  std::string extension = std::filesystem::path(input).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* const compressed : {".gz", ".zst", ".xz", ".bz2", ".zip"}) {
    if (extension != compressed) continue;
    throw Error(ErrorKind::kData, concat(input,
                                         ": is compressed; unpack it, also into a pipe: zcat FILE.jsonl.gz | retain "
                                         "data prepare - --text-key text"));
  }
  if (text_key) return true;
  if (extension == ".json") {
    throw Error(ErrorKind::kData, concat(input,
                                         ": is it JSONL, a document a line? --text-key KEY says so, and where each "
                                         "line's object has its text"));
  }
  return extension == ".jsonl" || extension == ".ndjson";
}

void add_input(const std::string& input, const std::optional<std::string>& text_key, Preparation& preparation) {
  const auto add = [&](std::istream& stream, const std::string& name, bool json_lines) {
    json_lines ? preparation.add_json_lines(stream, name) : preparation.add_document(stream, name);
  };
  if (input == "-") return add(std::cin, "standard input", text_key.has_value());
  if (!std::filesystem::exists(input)) throw Error(ErrorKind::kMissingInput, concat(input, ": there is no such file"));
  if (std::filesystem::is_directory(input)) throw Error(ErrorKind::kData, concat(input, ": is a folder, want a file"));
  const bool json_lines = is_json_lines(input, text_key);
  std::ifstream file(input, std::ios::binary);
  if (!file) throw Error(ErrorKind::kIo, concat(input, ": cannot open"));
  add(file, input, json_lines);
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

PrepareSummary write_whole(std::span<const std::string> inputs, const std::string& prefix, const Tokenizer& tokenizer,
                           const PrepareOptions& options) {
  TokenWriter writer(prefix, tokenizer.vocab_size());
  PrepareSummary summary;
  Preparation preparation(tokenizer, options, writer, summary);
  for (const std::string& input : inputs) add_input(input, options.text_key, preparation);
  if (summary.text_bytes == 0) throw Error(ErrorKind::kData, concat(inputs.size(), " inputs hold no text"));
  writer.finish();
  summary.sets.push_back({prefix, writer.tokens(), writer.documents()});
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
