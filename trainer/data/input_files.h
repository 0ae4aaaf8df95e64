// Which files are meant: files, folders, and patterns, on the command line of what reads text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace retain {

/// One input of text, as it was when it was listed.
struct InputFile {
  std::string path;  ///< "-" is standard input
  bool json_lines = false;
  int64_t bytes = 0, written_ns = 0;   ///< its size and when it was last written; of standard input 0
  std::optional<Error> unusable = {};  ///< why it cannot be read as text, by its name
  bool found = false;                  ///< in a folder, or by a pattern, not named itself
  bool is_stream() const { return path == "-"; }
};

/// Things that were left out, and where the first of them are: "a.jsonl:3", or more of a sentence.
struct LeftOut {
  int64_t count = 0;
  std::vector<std::string> first;

  void add(const std::string& what);
};

/// The inputs in their order: a folder is all files below it, by name, a pattern ("corpus/**/*.txt", "web_{a,b}_*")
/// what matches; ** stands for any number of folders. Names that begin with a point, and links, are left out of both
/// unless a pattern names them. Files named .jsonl and .ndjson are JSONL, and all are when a text_key is given. What is
/// none of text by its name (compressed files, Parquet, .json without a text_key) is thrown for where it is named
/// itself, and is `unusable` where a folder or pattern has it. Throws Error(kMissingInput), Error(kData).
std::vector<InputFile> list_inputs(std::span<const std::string> inputs, const std::optional<std::string>& text_key);

}  // namespace retain
