// Numbers as people read them at a glance.
#pragma once

#include <string>

namespace retain {

/// "1.23 k", "45.6 M": three digits and a decimal prefix.
std::string short_number(double value);
/// "57.0 MiB"
std::string short_bytes(double bytes);
/// "3 h 12 min", "12 min 5 s", "5 s"
std::string short_duration(double seconds);
/// The same as one word: "3h12m", "12m05s", "5s"
std::string compact_duration(double seconds);

}  // namespace retain
