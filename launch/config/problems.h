// What is wrong with a configuration, as text for people: file:line:column, the source line, a caret, a suggestion.
#pragma once

#include <string>
#include <vector>

#include "launch/config/schema.h"
#include "launch/config/yaml.h"

namespace retain {

struct ConfigSources;

/// One thing that is wrong with what was read.
struct ReadProblem {
  Origin at;
  std::string message;
  std::string hint;  ///< printed beside the caret
};

/// "run.yaml:14:3", "--set 2", or the name of the first file when the place is not known.
std::string describe(const Origin& at, const ConfigSources& sources);

/// All problems in the order of the sources, ending "N errors; nothing was started."
std::string describe(std::vector<ReadProblem> problems, const ConfigSources& sources,
                     const std::vector<std::string>& sets);

/// The path of the key that somebody who wrote section.name ("" at the top) most likely meant, or "".
std::string suggest_key(const std::vector<Field>& fields, const std::string& section, const std::string& name);

}  // namespace retain
