// YAML text to a tree; the only user of yaml-cpp. Refuses what configurations have no use for (anchors, aliases, tags,
// several documents) and what yaml-cpp accepts silently (duplicate keys, keys that are no words, broken UTF-8).
#pragma once

#include <string_view>

#include "launch/config/tree.h"

namespace retain {

/// Reads one document; `start` is the place of its first character. Adds what is wrong to `problems` and returns what
/// could be read: after a syntax error a kRefused node, for a text without content a kNull node.
ConfigNode parse_yaml(std::string_view text, const Origin& start, std::vector<ReadProblem>& problems);

}  // namespace retain
