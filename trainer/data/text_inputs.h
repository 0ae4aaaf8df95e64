// What text comes from: files and standard input, plain or as JSONL, one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "kernels/core/error.h"

namespace retain {

/// Opens the inputs one after the other; "-" is standard input. Files named .jsonl and .ndjson are JSONL, and all are
/// when a text_key is given. Throws Error(kMissingInput), Error(kIo), and Error(kData) for folders, compressed files,
/// and .json without a text_key.
void for_each_input(std::span<const std::string> inputs, const std::optional<std::string>& text_key,
                    const std::function<void(std::istream& stream, const std::string& name, bool json_lines)>& read);

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
