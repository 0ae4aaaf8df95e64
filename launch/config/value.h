// How single values are written: whole numbers with suffixes, real numbers, text; to and from YAML scalars.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "launch/config/yaml.h"

namespace retain {

/// A whole number such as 300, -1, 4k, 1.3B, 16Ki or 2e6; k, M, B are powers of 1000, Ki, Mi, Gi of 1024.
/// `problem` says what is wrong when nothing is returned ("is too large").
std::optional<int64_t> parse_whole(std::string_view text, std::string& problem);

/// A finite real number such as 0.1 or 6e-4, in any locale.
std::optional<double> parse_real(std::string_view text, std::string& problem);

/// The shortest text that parse_real turns into the same number.
std::string print_real(double value);

/// Text as a YAML scalar: plain when it is unmistakable, else in double quotes.
std::string print_text(std::string_view text);

/// What stands there, for messages: "'4k8'", "a list", "nothing".
std::string describe(const ConfigNode& node);

}  // namespace retain
