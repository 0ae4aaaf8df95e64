// What a run says to people, on stderr and in log.txt; results and metrics go elsewhere. Rank 0 says everything; the
// other ranks only warn, and sign with their rank and host. Bytes that could steer a terminal or forge a line are
// written as escapes. Passed by reference; used by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/core/error.h"

namespace retain {

enum class LogLevel : uint8_t { kInfo, kWarn, kError };

struct LogOptions {
  int world_rank = 0;
  std::string host = {};
  std::string file = {};  ///< rank 0 appends to it; empty: stderr alone
};

class Log {
 public:
  /// Throws Error(kCannotCreate) when the file cannot be opened.
  explicit Log(const LogOptions& options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// One line of the parts, one after the other; flushed.
  template <class... Parts>
  void info(const Parts&... parts) {
    if (speaks(LogLevel::kInfo)) write(LogLevel::kInfo, concat(parts...));
  }
  template <class... Parts>
  void warn(const Parts&... parts) {
    write(LogLevel::kWarn, concat(parts...));
  }
  template <class... Parts>
  void error(const Parts&... parts) {
    write(LogLevel::kError, concat(parts...));
  }

 private:
  struct Sinks;
  bool speaks(LogLevel level) const;
  void write(LogLevel level, const std::string& text);

  std::unique_ptr<Sinks> sinks_;
};

}  // namespace retain
