#include "trainer/checkpoint/file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace retain {

namespace {

// Kernel calls move at most about 2 GiB at once; smaller pieces keep a killed process responsive.
constexpr int64_t kMaxCallBytes = int64_t{1} << 30;

}  // namespace

void throw_errno(ErrorKind kind, std::string_view call, const Path& path, int error) {
  throw Error(kind, concat(call, " ", path.string(), ": ", std::strerror(error)));
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File File::create(const Path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(ErrorKind::kIo, "create", path, errno);
  return {descriptor, path};
}

File File::open(const Path& path) {
  // O_NONBLOCK: opening a FIFO must not hang.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) {
    const int error = errno;
    if (error == ELOOP) throw Error(ErrorKind::kData, concat(path.string(), " is a symbolic link"));
    throw_errno(error == ENOENT || error == ENOTDIR ? ErrorKind::kMissingInput : ErrorKind::kIo, "open", path, error);
  }
  File file(descriptor, path);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) throw_errno(ErrorKind::kIo, "fstat", path, errno);
  if (!S_ISREG(info.st_mode)) throw Error(ErrorKind::kData, concat(path.string(), " is not a regular file"));
  return file;
}

int64_t File::size() const {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) throw_errno(ErrorKind::kIo, "fstat", path_, errno);
  return info.st_size;
}

void File::preallocate(int64_t bytes) {
  if (bytes == 0) return;
  int error = 0;
  do {
    error = ::posix_fallocate(descriptor_, 0, bytes);
  } while (error == EINTR);
  if (error != 0) throw_errno(ErrorKind::kIo, concat("allocate ", bytes, " bytes of"), path_, error);
}

void File::resize(int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) throw_errno(ErrorKind::kIo, "resize", path_, errno);
}

void File::write(const void* data, int64_t bytes, int64_t offset) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(descriptor_, from, static_cast<size_t>(std::min(bytes, kMaxCallBytes)), offset);
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno(ErrorKind::kIo, "write", path_, errno);
    }
    from += n;
    bytes -= n;
    offset += n;
  }
}

void File::read(void* data, int64_t bytes, int64_t offset) const {
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pread(descriptor_, to, static_cast<size_t>(std::min(bytes, kMaxCallBytes)), offset);
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno(ErrorKind::kIo, "read", path_, errno);
    }
    if (n == 0)
      throw Error(ErrorKind::kData, concat(path_.string(), " ends at byte ", offset, ", want ", bytes, " more"));
    to += n;
    bytes -= n;
    offset += n;
  }
}

void File::start_writing(int64_t offset, int64_t bytes) {
  ::sync_file_range(descriptor_, offset, bytes, SYNC_FILE_RANGE_WRITE);
}

void File::sync() {
  if (::fsync(descriptor_) != 0) throw_errno(ErrorKind::kIo, "fsync", path_, errno);
}

void File::close() {
  if (::close(std::exchange(descriptor_, -1)) != 0) throw_errno(ErrorKind::kIo, "close", path_, errno);
}

void sync_directory(const Path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_errno(ErrorKind::kIo, "open", directory, errno);
  File file(descriptor, directory);
  file.sync();
}

void write_new_file(const Path& path, std::string_view text) {
  File file = File::create(path);
  file.write(text.data(), static_cast<int64_t>(text.size()), 0);
  file.sync();
  file.close();
}

void replace_file(const Path& path, std::string_view text) {
  Path aside = path;
  aside += ".new." + make_nonce();
  write_new_file(aside, text);
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(aside.c_str());
    throw_errno(ErrorKind::kIo, "rename to", path, error);
  }
  sync_directory(path.parent_path());
}

std::string read_small_file(const Path& path, int64_t limit_bytes) {
  const File file = File::open(path);
  const int64_t bytes = file.size();
  if (bytes > limit_bytes) {
    throw Error(ErrorKind::kData,
                concat(path.string(), " has ", bytes, " bytes, at most ", limit_bytes, " are accepted"));
  }
  std::string text(static_cast<size_t>(bytes), '\0');
  file.read(text.data(), bytes, 0);
  return text;
}

std::string make_nonce() {
  std::array<unsigned char, 8> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw_errno(ErrorKind::kIo, "getrandom", "nonce", errno);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char b : bytes) {
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

}  // namespace retain
