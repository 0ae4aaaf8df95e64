// YAML text as a plain tree whose nodes know where they stand. yaml.cpp is the only user of yaml-cpp. Refused is what
// configurations have no use for (anchors, aliases, tags, several documents) and what yaml-cpp accepts silently
// (duplicate keys, keys that are no words, broken UTF-8).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace retain {

/// Where a value comes from. Lines and columns count from 1, columns in characters.
struct Origin {
  enum class Kind { kFile, kSet, kDefault };
  Kind kind = Kind::kDefault;
  int index = 0;  ///< of the file among the sources; number of the --set, from 1
  int line = 0, column = 0;

  bool operator==(const Origin&) const = default;
};

struct ConfigNode {
  enum class Kind { kNull, kScalar, kSequence, kMap, kRefused };  ///< kRefused: reported already, to be left alone

  Kind kind = Kind::kNull;
  Origin at;
  std::string text;               ///< of a scalar
  bool quoted = false;            ///< a scalar in quotes or a block: text, never a number
  std::vector<ConfigNode> items;  ///< of a sequence or a map
  std::string key;                ///< of a map's item
  Origin key_at;
  bool key_refused = false;
};

/// Takes what is wrong at a place, and the hint beside the caret ("" without one).
using ReportProblem = std::function<void(const Origin& at, const std::string& message, const std::string& hint)>;

/// Reads one document; `start` is the place of its first character. Returns what could be read: after a syntax error a
/// kRefused node, for a text without content a kNull node.
ConfigNode parse_yaml(std::string_view text, const Origin& start, const ReportProblem& report);

}  // namespace retain
