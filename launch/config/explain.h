// What a key is for and how to choose its value: the table of keys, for people who decide.
#pragma once

#include <string>

namespace retain {

/// Of a key ("data.seq_len"), or of all keys of a section ("data"): kind of value, default, unit, range, what it is,
/// why one would change it, and whether a resume may. Throws Error(kUsage) with what was probably meant.
std::string explain(const std::string& key);

}  // namespace retain
