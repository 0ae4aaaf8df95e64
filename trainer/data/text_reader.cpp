#include "trainer/data/text_reader.h"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <optional>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr size_t kBlockBytes = 1 << 18;
constexpr size_t kLongestCharacter = 4;
constexpr std::string_view kMark = "\xef\xbb\xbf";  // the byte order mark in UTF-8
constexpr std::string_view kNotWindows1252 = "\x81\x8d\x8f\x90\x9d";
constexpr const char* kAsItIs = "--encoding bytes takes it as it is";

bool is_utf8(const std::string& encoding) { return encoding.empty() || encoding == "utf-8" || encoding == "bytes"; }

/// As people write it: in small letters, and iconv's name of Latin-1, which has no hyphen.
std::string normal_name(std::string encoding) {
  std::transform(encoding.begin(), encoding.end(), encoding.begin(), [](unsigned char c) { return std::tolower(c); });
  if (encoding == "utf8") return "utf-8";
  return encoding == "latin-1" ? "latin1" : encoding;
}

/// UTF-16 without a mark: in most languages many of its characters have a zero byte, always on the same side.
std::string unmarked_utf16(std::string_view beginning) {
  constexpr size_t kLookedAt = 4096;
  std::array<size_t, 2> zeros{};  // first bytes of pairs, second bytes
  const size_t pairs = std::min(beginning.size(), kLookedAt) / 2;
  for (size_t i = 0; i < 2 * pairs; ++i) zeros[i % 2] += beginning[i] == 0 ? 1 : 0;
  if (zeros[1] > zeros[0] && 4 * zeros[1] >= pairs) return "utf-16le";
  if (zeros[0] > zeros[1] && 4 * zeros[0] >= pairs) return "utf-16be";
  return "";
}

/// Refuses, by name, what can be told from the beginning of a text that should be UTF-8.
void refuse_other_encodings(std::string_view beginning, const std::string& name) {
  using namespace std::string_view_literals;
  const auto refuse = [&](const std::string& what, const std::string& encoding) {
    return Error(ErrorKind::kData, concat(name, ":1: ", what, ", want UTF-8; --encoding ", encoding, " converts it"));
  };
  if (beginning.starts_with(kMark)) {
    throw Error(ErrorKind::kData, concat(name, ":1: begins with a byte order mark; --encoding utf-8 leaves it out"));
  }
  for (const std::string_view mark : {"\xff\xfe\0\0"sv, "\0\0\xfe\xff"sv}) {
    if (beginning.starts_with(mark)) throw refuse("is UTF-32 by its byte order mark", "utf-32");
  }
  for (const std::string_view mark : {"\xff\xfe"sv, "\xfe\xff"sv}) {
    if (beginning.starts_with(mark)) throw refuse("is UTF-16 by its byte order mark", "utf-16");
  }
  const std::string utf16 = unmarked_utf16(beginning);
  if (!utf16.empty()) throw refuse("looks like UTF-16 without a byte order mark", utf16);
}

/// The length of the beginning that is whole characters, if `text` is UTF-8 that is cut somewhere.
size_t whole_characters(std::string_view text) {
  for (size_t back = 1; back < kLongestCharacter && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue;
    const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return back < length ? text.size() - back : text.size();
  }
  return text.size();
}

/// Whether the text begins with U+D800 to U+DFFF as UTF-8 would write it.
bool is_surrogate(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  return text.size() >= 3 && byte(0) == 0xed && byte(1) >= 0xa0 && byte(1) <= 0xbf && (byte(2) & 0xc0) == 0x80;
}

}  // namespace

class TextReader::Converter {
 public:
  explicit Converter(const std::string& encoding) : handle_(::iconv_open("UTF-8", encoding.c_str())) {
    if (is_open() && encoding.find('/') == std::string::npos) return;
    if (is_open()) ::iconv_close(handle_);
    throw Error(ErrorKind::kUsage,
                concat("the encoding ", in_quotes(encoding),
                       " is not known; there are utf-8, utf-16, latin-1, windows-1252, all others that 'iconv -l' "
                       "lists, and bytes, which takes a text as it is"));
  }
  ~Converter() { ::iconv_close(handle_); }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;

  /// Moves what can be converted from `from` to `to`; false at bytes that are no character.
  bool convert(std::string& from, std::string& to) {
    char* in = from.data();
    size_t left = from.size();
    int error = E2BIG;
    while (error == E2BIG) {
      std::array<char, 1 << 16> block;
      char* out = block.data();
      size_t room = block.size();
      error = ::iconv(handle_, &in, &left, &out, &room) == static_cast<size_t>(-1) ? errno : 0;
      to.append(block.data(), block.size() - room);
    }
    from.erase(0, from.size() - left);
    return error != EILSEQ;
  }

 private:
  // NOLINTNEXTLINE(performance-no-int-to-ptr): so does iconv say it
  bool is_open() const { return handle_ != reinterpret_cast<iconv_t>(-1); }
  iconv_t handle_;
};

TextReader::TextReader(std::istream& stream, std::string name, const std::string& encoding, Utf8Check check)
    : stream_(stream),
      name_(std::move(name)),
      encoding_(normal_name(encoding)),
      check_(check),
      utf8_(name_, kAsItIs, concat("iconv -c -f utf-8 -t utf-8 leaves such bytes out, ", kAsItIs)) {
  if (!is_utf8(encoding_)) converter_ = std::make_unique<Converter>(encoding_);
}

TextReader::~TextReader() = default;

bool TextReader::read(std::string& text) {
  std::string block(kBlockBytes, '\0');
  while (stream_.read(block.data(), static_cast<std::streamsize>(block.size())) || stream_.gcount() > 0 ||
         !raw_.empty()) {
    bytes_ += stream_.gcount();
    raw_.append(block, 0, static_cast<size_t>(stream_.gcount()));
    if (stream_.bad()) break;
    if (!begun_ && encoding_.empty()) refuse_other_encodings(raw_, name_);
    std::string more = take_text(stream_.gcount() == 0 || stream_.eof());
    if (!begun_ && encoding_ != "bytes" && more.starts_with(kMark)) more.erase(0, kMark.size());
    begun_ = true;
    if (more.empty()) continue;
    const size_t newline = more.rfind('\n');
    line_ += std::count(more.begin(), more.end(), '\n');
    column_ = static_cast<int64_t>(newline == std::string::npos ? column_ + more.size() : more.size() - newline - 1);
    text += more;
    return true;
  }
  if (stream_.bad()) throw Error(ErrorKind::kIo, concat(name_, ": byte ", bytes_, ": cannot read"));
  return false;
}

std::string TextReader::take_text(bool at_end) {
  if (converter_) return convert(at_end);
  const bool checks = check_ == Utf8Check::kAll && encoding_ != "bytes";
  const size_t length = checks && !at_end ? whole_characters(raw_) : raw_.size();
  std::string text = raw_.substr(0, length);
  raw_.erase(0, length);
  if (checks) utf8_.check(text, line_, column_);
  return text;
}

std::string TextReader::convert(bool at_end) {
  std::string text;
  const bool good = converter_->convert(raw_, text);
  if (good && (!at_end || raw_.empty())) return text;
  const int64_t line = line_ + std::count(text.begin(), text.end(), '\n');
  throw Error(ErrorKind::kData,
              good ? concat(name_, ":", line, ": ends inside of a character of ", encoding_)
                   : concat(name_, ":", line, ": byte 0x", hex_escape(static_cast<unsigned char>(raw_[0])).substr(2),
                            " is no character of ", encoding_));
}

Utf8Checker::Utf8Checker(std::string name, std::string otherwise, std::string repair)
    : name_(std::move(name)), otherwise_(std::move(otherwise)), repair_(std::move(repair)) {}

void Utf8Checker::check(std::string_view text, int64_t line, int64_t column) {
  size_t line_begin = 0;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      if (text[i++] != '\n') continue;
      ++line;
      column = 0;
      line_begin = i;
      continue;
    }
    const size_t length = utf8_length(text, i);
    if (length == 0) {
      throw Error(ErrorKind::kData,
                  concat(name_, ":", line, ": byte ", column + static_cast<int64_t>(i - line_begin) + 1, " (0x",
                         hex_escape(static_cast<unsigned char>(text[i])).substr(2), ") ", complaint(text.substr(i))));
    }
    seen_utf8_ = true;
    i += length;
  }
}

std::string Utf8Checker::complaint(std::string_view rest) const {
  const auto byte = static_cast<unsigned char>(rest[0]);
  if (is_surrogate(rest)) return concat("begins half of a surrogate pair, which is no character of UTF-8; ", repair_);
  if (seen_utf8_) {
    const bool cut = byte >= 0xc2 && byte <= 0xf4 && whole_characters(rest) == 0;
    return concat(cut ? "begins a character that is cut off" : "is no character in a text that is UTF-8 so far", "; ",
                  repair_);
  }
  // Latin-1 has only control characters there, Windows-1252 a few gaps.
  const bool windows = byte < 0xa0;
  if (windows && kNotWindows1252.find(rest[0]) != std::string_view::npos) {
    return concat(
        "is neither UTF-8 nor Latin-1 nor Windows-1252; --encoding NAME converts the text if it has another "
        "encoding, ",
        otherwise_);
  }
  return concat("is not UTF-8 but perhaps ", windows ? "Windows-1252" : "Latin-1", "; --encoding ",
                windows ? "windows-1252" : "latin-1", " converts the text, ", otherwise_);
}

}  // namespace retain
