// A YAML document as a plain tree whose nodes know where they stand. Knows no YAML library and no key of ours.
#pragma once

#include <string>
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
  struct Key {
    std::string name;
    Origin at;
  };

  Kind kind = Kind::kNull;
  Origin at;
  std::string text;               ///< of a scalar
  bool quoted = false;            ///< a scalar in quotes or a block: text, never a number
  std::vector<Key> keys;          ///< of a map, one for each item
  std::vector<ConfigNode> items;  ///< of a sequence, or the values of a map
};

/// One thing that is wrong with what was read.
struct ReadProblem {
  Origin at;
  std::string key;  ///< "optimizer.lr", "optimizer" or "" as far as known
  std::string message;
  std::string hint;  ///< printed beside the caret
};

}  // namespace retain
