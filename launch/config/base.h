// The `base:` list of a configuration file: what it names, and where.
#pragma once

#include <string>
#include <vector>

#include "launch/config/tree.h"

namespace retain {

/// The name of a base file: relative to the folder of the file that names it, unless absolute.
std::string base_name(const std::string& including, const std::string& base);

/// The well-formed entries of the document's base list.
std::vector<ConfigNode> base_entries(const ConfigNode& document);

}  // namespace retain
