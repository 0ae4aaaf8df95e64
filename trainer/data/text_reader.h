// The text of a file or a pipe as UTF-8, whatever its encoding: read in pieces, checked, and converted by iconv on
// request. What is not UTF-8 is told apart by name, and becomes tokens only when somebody says what it is.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <string>
#include <string_view>

namespace retain {

enum class Utf8Check : uint8_t { kAll, kLater };  ///< kLater: what is said to be UTF-8 is not looked at

/// Looks whether the text of one file is UTF-8. What is not is called Latin-1 or Windows-1252 only where nothing before
/// it shows that the text is UTF-8.
class Utf8Checker {
 public:
  /// What helps is named: `otherwise`, beside converting the text, where it may have another encoding ("--encoding
  /// bytes takes it as it is"), and `repair` where UTF-8 has a bad byte.
  Utf8Checker(std::string name, std::string otherwise, std::string repair);

  /// The next text of the file, of whole characters; begins `column` bytes into that line. Throws Error(kData)
  /// "NAME:LINE: byte N (0xe9) is not UTF-8 …".
  void check(std::string_view text, int64_t line, int64_t column);

 private:
  /// What is wrong where `rest` begins.
  std::string complaint(std::string_view rest) const;

  std::string name_, otherwise_, repair_;
  bool seen_utf8_ = false;  ///< a character of several bytes
};

class TextReader {
 public:
  /// `name` is what messages call the stream, which outlives the reader. `encoding`: "" is UTF-8 without a byte order
  /// mark; "utf-8" leaves one out; "bytes" takes everything as it is; others are iconv's names ("utf-16", "latin-1",
  /// "windows-1252", …). Throws Error(kUsage) for one that iconv does not know.
  TextReader(std::istream& stream, std::string name, const std::string& encoding, Utf8Check check = Utf8Check::kAll);
  ~TextReader();
  TextReader(const TextReader&) = delete;
  TextReader& operator=(const TextReader&) = delete;

  /// Appends the next text, of whole characters if it was checked; false at the end. Throws Error(kData) with file and
  /// line where the text is not what `encoding` says, and Error(kIo).
  bool read(std::string& text);

 private:
  class Converter;
  /// Takes the UTF-8 out of raw_ that can be told; all of it at the end.
  std::string take_text(bool at_end);
  std::string convert(bool at_end);

  std::istream& stream_;
  std::string name_, encoding_;
  Utf8Check check_;
  Utf8Checker utf8_;
  std::unique_ptr<Converter> converter_;  ///< of other encodings than UTF-8
  bool begun_ = false;
  std::string raw_;  ///< read and not yet text
  int64_t bytes_ = 0;
  int64_t line_ = 1, column_ = 0;  ///< of the text's next byte
};

}  // namespace retain
