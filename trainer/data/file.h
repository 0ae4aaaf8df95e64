// Files as the trainer reads and writes them. Reading is by position (pread), not by a memory map: a file that shrinks
// or a disk that fails while we read is then an Error with a file name and an offset, not a SIGBUS. An output appears
// under its name only when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace retain {

/// A regular file open for reading at any offset; move-only; any number of threads may read at once.
class InputFile {
 public:
  /// Throws Error(kMissingInput) when there is no such file, Error(kData) when it is not a regular file, Error(kIo).
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept { swap(other); }
  InputFile& operator=(InputFile&& other) noexcept {
    swap(other);
    return *this;
  }

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  ///< when it was opened

  /// Fills `out` from byte `offset` on. Throws Error(kData) when the file ends before that, Error(kIo).
  void read(int64_t offset, std::span<std::byte> out) const;

 private:
  void swap(InputFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(bytes_, other.bytes_);
  }
  std::string path_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

/// A new file, written front to back under a temporary name in the same folder. sync(), then publish() gives it its
/// name; an OutputFile that dies before that leaves nothing behind.
class OutputFile {
 public:
  /// Throws Error(kCannotCreate).
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  ///< written so far

  /// Buffered. Throws Error(kIo).
  void write(std::span<const std::byte> data);
  /// Everything written so far is on the disk. Throws Error(kIo).
  void sync();
  /// Renames to the final name, replacing what was there. sync() came before. Throws Error(kCannotCreate).
  void publish();

 private:
  void flush();
  std::string path_, temporary_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace retain
