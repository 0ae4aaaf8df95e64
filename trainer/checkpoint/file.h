// Files of a checkpoint: POSIX calls whose failures become Error(kIo) naming the call, the path and the reason.
// Nothing here retries a failed fsync: the kernel may have dropped the data already.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/error.h"

namespace retain {

using Path = std::filesystem::path;

/// Error(kind) "open /a/b: No space left on device", from errno.
[[noreturn]] void throw_errno(ErrorKind kind, std::string_view call, const Path& path, int error);

/// An open file descriptor; move-only; closes without throwing. Not for several threads at once.
class File {
 public:
  File() = default;
  File(int descriptor, Path path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~File();
  File(File&& other) noexcept { swap(other); }
  File& operator=(File&& other) noexcept {
    swap(other);
    return *this;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// A new file for writing (O_EXCL, O_NOFOLLOW). Throws Error(kIo).
  static File create(const Path& path);
  /// For reading; regular files only, symbolic links are refused. Throws Error(kMissingInput) when there is none,
  /// Error(kData) when it is something else than a regular file, Error(kIo) else.
  static File open(const Path& path);

  int descriptor() const { return descriptor_; }
  const Path& path() const { return path_; }
  int64_t size() const;

  /// Takes the disk space of the first `bytes` bytes now, so that a full disk is found before data is written.
  void preallocate(int64_t bytes);
  void resize(int64_t bytes);
  void write(const void* data, int64_t bytes, int64_t offset);
  /// Reads all of it; Error(kData) when the file ends before.
  void read(void* data, int64_t bytes, int64_t offset) const;
  /// A hint to begin writing these bytes to the disk. If that fails, sync() will say so.
  void start_writing(int64_t offset, int64_t bytes);
  /// Makes what was written durable.
  void sync();
  /// Closes and reports what the destructor would swallow.
  void close();

 private:
  void swap(File& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
  }
  int descriptor_ = -1;
  Path path_;
};

/// Makes the entries of a directory durable: creations, renames, removals.
void sync_directory(const Path& directory);

/// A new durable file with this text.
void write_new_file(const Path& path, std::string_view text);
/// Replaces a file atomically and durably: written aside, synced, renamed.
void replace_file(const Path& path, std::string_view text);
/// The whole file; Error(kData) if it is larger than `limit_bytes`.
std::string read_small_file(const Path& path, int64_t limit_bytes);

/// 16 hexadecimal digits that nobody else has.
std::string make_nonce();

}  // namespace retain
