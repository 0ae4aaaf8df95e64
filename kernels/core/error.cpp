#include "kernels/core/error.h"

namespace retain {

void fail_check(const SourceLine& where, const char* expression, const std::string& message) {
  throw Error(ErrorKind::kInternal,
              concat(where, ": check failed: ", expression, message.empty() ? "" : ": ", message));
}

}  // namespace retain
