// Where the prompts of `retain generate` come from: an argument, a file, standard input, or a line each of one of
// these.
#pragma once

#include <cstdint>
#include <fstream>
#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/command_line/command_line.h"

namespace retain {

/// The prompt, to its last byte. Throws Error(kMissingInput), Error(kIo).
std::string read_prompt(const GenerateOptions& options);

/// One prompt a line, as text or as a JSON object with a "prompt"; blank lines are passed over.
class PromptLines {
 public:
  /// "-" is standard input. Throws Error(kMissingInput).
  explicit PromptLines(const std::string& path);

  struct Line {
    std::string prompt;
    nlohmann::ordered_json object;  ///< the line's, or one with the prompt alone
  };
  /// Nothing at the end. Throws Error(kData) that names the line, Error(kIo).
  std::optional<Line> next();

 private:
  Line read(const std::string& line) const;

  std::string name_;
  std::ifstream file_;
  std::istream& in_;
  int64_t number_ = 0;
};

}  // namespace retain
