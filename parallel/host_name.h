// The name of the machine that this process runs on.
#pragma once

#include <string>

namespace retain {

/// As gethostname() has it, at most 255 bytes.
std::string host_name();

}  // namespace retain
