#include "trainer/data/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "kernels/core/error.h"

namespace retain {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

std::string reason() { return std::strerror(errno); }

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a FIFO must not hang; for regular files it means nothing.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    throw Error(missing ? ErrorKind::kMissingInput : ErrorKind::kIo, concat(path, ": cannot open: ", reason()));
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error(ErrorKind::kData, concat(path, ": not a regular file"));
  }
  bytes_ = status.st_size;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(int64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(descriptor_, out.data() + done, out.size() - done, offset + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorKind::kIo, concat(path_, ": byte ", offset + static_cast<int64_t>(done), ": ", reason()));
    }
    if (got == 0) {
      throw Error(ErrorKind::kData, concat(path_, ": ends at byte ", offset + static_cast<int64_t>(done), ", want ",
                                           out.size() - done, " more; it had ", bytes_, " bytes when it was opened"));
    }
    done += static_cast<size_t>(got);
  }
}

OutputFile::OutputFile(const std::string& path)
    : path_(path), temporary_(concat(path, ".tmp.", static_cast<int64_t>(::getpid()))) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) throw Error(ErrorKind::kCannotCreate, concat(temporary_, ": cannot create: ", reason()));
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> data) {
  bytes_ += static_cast<int64_t>(data.size());
  while (!data.empty()) {
    const size_t part = std::min(data.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(part));
    data = data.subspan(part);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void OutputFile::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t wrote = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw Error(ErrorKind::kIo, concat(temporary_, ": cannot write: ", reason()));
    done += static_cast<size_t>(wrote);
  }
  buffer_.clear();
}

void OutputFile::sync() {
  flush();
  if (::fsync(descriptor_) != 0) throw Error(ErrorKind::kIo, concat(temporary_, ": cannot sync: ", reason()));
}

void OutputFile::publish() {
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    throw Error(ErrorKind::kCannotCreate, concat(path_, ": cannot rename from ", temporary_, ": ", reason()));
  }
  ::close(descriptor_);
  descriptor_ = -1;
  // The new name is safe only when its folder is on the disk too; a file system that cannot sync folders is no error.
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int handle = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return;
  static_cast<void>(::fsync(handle));
  ::close(handle);
}

}  // namespace retain
