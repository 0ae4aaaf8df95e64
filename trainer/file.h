// Files: POSIX calls whose failures become Error naming the call, the path and the reason. Reading is by position
// (pread), not by a memory map: a file that shrinks or a disk that fails while we read is then an Error, not a SIGBUS.
// Nothing here retries a failed fsync: the kernel may have dropped the data already.
#pragma once

#include <cstddef>
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

/// An open file descriptor; move-only; closes without throwing. Any number of threads may read at once.
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

  /// A new file for writing (O_EXCL, O_NOFOLLOW). Throws Error(kind).
  static File create(const Path& path, ErrorKind kind = ErrorKind::kIo);
  /// A file of ours for reading; regular files only, symbolic links are refused. Throws Error(kMissingInput) when there
  /// is none, Error(kData) when it is something else than a regular file, Error(kIo) else.
  static File open(const Path& path);
  /// The same for a file that people may have made: links are followed. One that this process may not read is
  /// Error(forbidden).
  static File open_input(const Path& path, ErrorKind forbidden = ErrorKind::kIo);
  /// The same for a file that people name as an input: one that may not be read is missing.
  static File open_given(const Path& path) { return open_input(path, ErrorKind::kMissingInput); }

  int descriptor() const { return descriptor_; }
  const Path& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  ///< when it was opened for reading

  /// Takes the disk space of the first `bytes` bytes now, so that a full disk is found before data is written. Does
  /// nothing on a file system that cannot.
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
    std::swap(bytes_, other.bytes_);
  }
  bool look();  // takes its size; is it a regular file? Throws Error(kIo)
  int descriptor_ = -1;
  Path path_;
  int64_t bytes_ = 0;
};

/// A new file, written front to back under a temporary name in the same folder. publish() gives it its name; an
/// OutputFile that dies before that leaves nothing behind.
class OutputFile {
 public:
  /// Throws Error(kCannotCreate).
  explicit OutputFile(const std::string& path);
  /// Goes on behind the first `kept_bytes` bytes of a file with a temporary name of its own, which is made if it is not
  /// there, and which stays when this object dies. Throws Error(kCannotCreate), Error(kData) when it has fewer.
  OutputFile(const std::string& path, const std::string& temporary, int64_t kept_bytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }

  /// Buffered. Throws Error(kIo).
  void write(std::span<const std::byte> data);
  /// Everything written so far is on the disk. Throws Error(kIo).
  void sync();
  /// Renames to the final name, replacing what was there. sync() came before. Throws Error(kCannotCreate).
  void publish();

 private:
  void flush();
  std::string path_;
  File file_;  ///< under the temporary name; without a descriptor once it is published
  bool stays_ = false;
  int64_t flushed_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

/// A new folder where temporary files belong, gone with this object and all that is in it.
class TemporaryDirectory {
 public:
  /// Throws Error(kCannotCreate).
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const Path& path() const { return path_; }

 private:
  Path path_;
};

/// Makes the entries of a directory durable: creations, renames, removals.
void sync_directory(const Path& directory);
/// Renames atomically, replacing what was there, and durably. Throws Error(kind).
void rename_durably(const Path& from, const Path& to, ErrorKind kind = ErrorKind::kIo);

/// A new durable file with this text.
void write_new_file(const Path& path, std::string_view text);
/// Replaces a file atomically and durably: written aside, synced, renamed.
void replace_file(const Path& path, std::string_view text);
/// The whole file; Error(kData) if it is larger than `limit_bytes`.
std::string read_text(const File& file, int64_t limit_bytes);

/// 16 hexadecimal digits that nobody else has.
std::string make_nonce();

}  // namespace retain
