#include "kernels/core/error.h"

namespace retain {

Error::Error(ErrorKind kind, const std::string& message, std::source_location where)
    : std::runtime_error(message), kind_(kind), where_(where) {}

void fail_check(const char* expression, const std::string& message, std::source_location where) {
  throw Error(ErrorKind::kInternal,
              concat(where.file_name(), ":", where.line(), ": check failed: ", expression, message.empty() ? "" : ": ",
                     message),
              where);
}

}  // namespace retain
