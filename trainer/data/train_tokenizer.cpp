#include "trainer/data/train_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <istream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "trainer/data/text_inputs.h"
#include "trainer/data/text_reader.h"
#include "trainer/data/tokenizer/sentence_pieces.h"
#include "trainer/file.h"

namespace retain {
namespace {

constexpr size_t kBlockBytes = 1 << 14;     // taken or left out together
constexpr size_t kLongestLine = 1 << 12;    // that the library takes
constexpr int64_t kLeastSampled = 1 << 10;  // blocks of a sample, or smaller ones

/// Lines of a text of any length in bounded memory: each block of it, then, whenever there would be too much, each
/// second, fourth, … one. What is taken depends on the text alone.
class Sample {
 public:
  explicit Sample(int64_t most_bytes)
      : most_bytes_(most_bytes),
        block_bytes_(std::clamp<size_t>(static_cast<size_t>(most_bytes / kLeastSampled), 1, kBlockBytes)) {}

  void add(std::string_view text) {
    text_bytes_ += static_cast<int64_t>(text.size());
    while (!text.empty()) {
      const size_t newline = text.find('\n');
      const size_t length = newline == std::string_view::npos ? text.size() : newline + 1;
      add_line(text.substr(0, length));
      text.remove_prefix(length);
    }
  }

  int64_t text_bytes() const { return text_bytes_; }
  int64_t sampled_bytes() const { return sampled_bytes_; }
  const std::vector<std::string>& blocks() const { return blocks_; }

 private:
  void add_line(std::string_view line) {
    if (open_bytes_ == 0 && next_++ % every_ == 0) {
      blocks_.emplace_back();
      taking_ = true;
    }
    open_bytes_ += line.size();
    if (taking_) {
      blocks_.back() += line;
      sampled_bytes_ += static_cast<int64_t>(line.size());
    }
    if (open_bytes_ < block_bytes_) return;
    open_bytes_ = 0;
    taking_ = false;
    if (sampled_bytes_ > most_bytes_) thin_out();
  }

  void thin_out() {
    every_ *= 2;
    std::vector<std::string> kept;
    sampled_bytes_ = 0;
    for (size_t i = 0; i < blocks_.size(); i += 2) {
      sampled_bytes_ += static_cast<int64_t>(blocks_[i].size());
      kept.push_back(std::move(blocks_[i]));
    }
    blocks_ = std::move(kept);
  }

  int64_t most_bytes_;
  size_t block_bytes_;
  int64_t text_bytes_ = 0, sampled_bytes_ = 0;
  int64_t next_ = 0, every_ = 1;  ///< number of the block to come; each so many is taken
  size_t open_bytes_ = 0;         ///< of the block that is being read
  bool taking_ = false;
  std::vector<std::string> blocks_;
};

/// Reads all inputs; what cannot be used is left out up to skip_bad.
class Inputs {
 public:
  Inputs(const TrainTokenizerOptions& options, Sample& sample) : options_(options), sample_(sample) {}

  void read(const InputFile& input) {
    std::optional<Error> unusable = input.unusable;
    const bool may_leave_out = options_.skip_bad > 0 && input.found && !input.json_lines;
    if (!unusable && may_leave_out) unusable = why_no_text(input, options_.encoding);
    if (unusable) return leave_out(*unusable);
    read_input(input, [&](std::istream& stream) {
      input.json_lines ? read_json_lines(stream, name_of(input)) : read_plain(stream, name_of(input));
    });
  }
  const LeftOut& left_out() const { return left_out_; }

 private:
  void leave_out(const Error& error) {
    if (left_out_.count >= options_.skip_bad) throw Error(error);
    left_out_.add(error.what());
  }
  void read_plain(std::istream& stream, const std::string& name) {
    TextReader reader(stream, name, options_.encoding);
    std::string text;
    for (; reader.read(text); text.clear()) sample_.add(text);
  }
  void read_json_lines(std::istream& stream, const std::string& name) {
    for_each_lines(stream, name, options_.encoding, [&](const JsonLines& lines) {
      lines.for_each(
          options_.text_key.value_or("text"),
          [&](int64_t, const std::string& text) {
            sample_.add(text);
            sample_.add("\n");
          },
          [&](const Error& error) { leave_out(error); });
    });
  }

  const TrainTokenizerOptions& options_;
  Sample& sample_;
  LeftOut left_out_;
};

/// Lines without their newlines, those that are too long in parts of whole characters.
class Lines {
 public:
  explicit Lines(const std::vector<std::string>& blocks) : blocks_(blocks) {}

  std::optional<std::string> next() {
    while (at_ == rest_.size()) {
      if (block_ == blocks_.size()) return std::nullopt;
      rest_ = blocks_[block_++];
      at_ = 0;
    }
    const size_t newline = std::min(rest_.find('\n', at_), rest_.size());
    size_t end = std::min(newline, at_ + kLongestLine);
    while (end < newline && end > at_ + 1 && (static_cast<unsigned char>(rest_[end]) & 0xc0) == 0x80) --end;
    std::string line(rest_.substr(at_, end - at_));
    at_ = end < newline ? end : std::min(newline + 1, rest_.size());
    return line;
  }

 private:
  const std::vector<std::string>& blocks_;
  size_t block_ = 0, at_ = 0;
  std::string_view rest_;
};

}  // namespace

TrainedTokenizer train_tokenizer(std::span<const std::string> inputs, const std::string& folder,
                                 const TrainTokenizerOptions& options) {
  if (!have_sentence_pieces()) train_sentence_pieces({}, 0);
  if (options.encoding == "bytes")
    throw Error(ErrorKind::kUsage, "a tokenizer is trained on text, which has an encoding other than bytes");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat(folder, ": cannot create: ", error.message()));
  Sample sample(options.sample_bytes);
  Inputs all(options, sample);
  for (const InputFile& input : list_inputs(inputs, options.text_key)) all.read(input);
  if (sample.text_bytes() == 0) throw Error(ErrorKind::kData, concat(inputs.size(), " inputs hold no text"));
  Lines lines(sample.blocks());
  const std::string model = train_sentence_pieces([&] { return lines.next(); }, options.vocab_size);
  const std::string path = (std::filesystem::path(folder) / "tokenizer.model").string();
  replace_file(path, model);
  return {.path = path,
          .text_bytes = sample.text_bytes(),
          .sampled_bytes = sample.sampled_bytes(),
          .unusable = all.left_out()};
}

}  // namespace retain
