// What this program is: shown by --version, written into every run and checkpoint.
#pragma once

#include <string>

namespace retain {

std::string version();   ///< "0.1.0"
std::string compiler();  ///< "g++ 12.2.0"

}  // namespace retain
