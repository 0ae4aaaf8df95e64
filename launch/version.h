// What this program is: shown by --version, written into every run and checkpoint.
#pragma once

#include <string>

namespace retain {

std::string version();   ///< "0.1.0"
std::string compiler();  ///< "g++ 12.2.0"
std::string commit();    ///< "0491ec9e2f31", with "-dirty" where files were changed since; "unknown" without git
/// A hash of this very program, as the linker left it: equal for equal sources, options and compiler. "unknown" where
/// there is none.
std::string build_id();

}  // namespace retain
