// What text comes from: files and standard input, plain or as JSONL.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <map>
#include <optional>
#include <string>

#include "kernels/core/error.h"
#include "trainer/data/input_files.h"

namespace retain {

/// What messages call an input.
std::string name_of(const InputFile& input);

/// Opens an input. Throws Error(kIo), and why it is unusable.
void read_input(const InputFile& input, const std::function<void(std::istream& stream)>& read);

/// Why a file of plain text cannot be used, if that is so: reads all of it.
std::optional<Error> why_no_text(const InputFile& input, const std::string& encoding);

/// Some whole lines of a file of JSONL, each an object.
struct JsonLines {
  std::string name;   ///< of the file
  int64_t first = 1;  ///< the first line's number
  std::string text = {};
  std::map<int64_t, Error> not_utf8 = {};  ///< by the line's number

  /// Calls `take` with the string that each line's object has under `text_key`, and `refuse` with the Error(kData) that
  /// says why a line cannot be used; blank lines are left out.
  void for_each(const std::string& text_key, const std::function<void(int64_t number, const std::string& text)>& take,
                const std::function<void(const Error&)>& refuse) const;
};

/// The lines of a file of JSONL, about a mebibyte at a time. Throws as TextReader does, and Error(kUsage) for the
/// encoding "bytes".
void for_each_lines(std::istream& stream, const std::string& name, const std::string& encoding,
                    const std::function<void(JsonLines)>& take);

}  // namespace retain
