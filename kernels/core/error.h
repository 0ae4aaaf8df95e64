// The one exception type of Retain and the macro that checks preconditions.
// An Error carries a kind (which decides the exit code of the program) and a message that lets the reader act; that of
// a failed check begins with its line in the source. Free of fmt: .cu files include this header.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace retain {

/// What went wrong; the value is the exit code of a program that ends because of it.
enum class ErrorKind : int {
  kUsage = 64,         ///< the command line
  kData = 65,          ///< token data or a checkpoint is damaged or of another kind
  kMissingInput = 66,  ///< a file that was named does not exist or may not be read
  kDevice = 69,        ///< GPU, NCCL or MPI unusable
  kInternal = 70,      ///< a broken invariant, or a hang seen by the watchdog
  kOutOfMemory = 71,
  kCannotCreate = 73,  ///< an output cannot be created, or the run is locked
  kIo = 74,            ///< reading or writing failed (disk full)
  kDiverged = 76,      ///< training produced no finite numbers any more
  kConfig = 78,        ///< the configuration
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

/// The parts, one after the other, as operator<< prints them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  static_cast<void>((out << ... << parts));  // no parts: no statement
  return out.str();
}

/// A line of the source, which the macros of checks pass on. (std::source_location is unknown to clang before 15.)
struct SourceLine {
  const char* file;
  int line;
};
#define RETAIN_HERE (::retain::SourceLine{__FILE__, __LINE__})
inline std::ostream& operator<<(std::ostream& out, const SourceLine& at) { return out << at.file << ":" << at.line; }

[[noreturn]] void fail_check(const SourceLine& where, const char* expression, const std::string& message);

}  // namespace retain

/// Precondition of our own code, checked in every build: throws Error(kInternal) with the failed
/// expression and the given parts ("got 3x64, want 3x128").
#define RETAIN_CHECK(condition, ...)                                                                \
  do {                                                                                              \
    if (!(condition)) ::retain::fail_check(RETAIN_HERE, #condition, ::retain::concat(__VA_ARGS__)); \
  } while (false)
