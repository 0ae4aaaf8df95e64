#include "launch/version.h"

namespace retain {

std::string version() { return RETAIN_VERSION; }
std::string compiler() { return "g++ " __VERSION__; }

}  // namespace retain
