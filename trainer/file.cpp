#include "trainer/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace retain {

namespace {

// Kernel calls move at most about 2 GiB at once; smaller pieces keep a killed process responsive.
constexpr int64_t kMaxCallBytes = int64_t{1} << 30;
constexpr size_t kBufferBytes = 1 << 20;
constexpr int kRead = O_RDONLY | O_NONBLOCK | O_CLOEXEC;  // O_NONBLOCK: opening a FIFO must not hang

ErrorKind kind_of_open(int error) {
  return error == ENOENT || error == ENOTDIR ? ErrorKind::kMissingInput : ErrorKind::kIo;
}

// Why a call failed, and what helps against a limit.
std::string reason_of(int error) {
  rlimit limit{};
  if (error != EMFILE || getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::strerror(error);
  return fmt::format("{}: this process may have {} open at once; 'ulimit -n' raises that", std::strerror(error),
                     limit.rlim_cur);
}

// Where the text of a file is written until it is whole.
Path aside_of(const Path& path) { return path.string() + ".new." + make_nonce(); }

// Without a descriptor when it cannot be opened. A name without a directory lies in the current one.
File open_directory(const Path& directory) {
  return {::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), directory};
}

void rename_file(const Path& from, const Path& to, ErrorKind kind) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_errno(kind, concat("rename ", from.string(), " to"), to, errno);
}

}  // namespace

void throw_errno(ErrorKind kind, std::string_view call, const Path& path, int error) {
  throw Error(kind, concat(call, " ", path.string(), ": ", reason_of(error)));
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File File::create(const Path& path, ErrorKind kind) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(kind, "create", path, errno);
  return {descriptor, path};
}

File File::open(const Path& path) {
  const int descriptor = ::open(path.c_str(), kRead | O_NOFOLLOW), error = errno;
  if (descriptor < 0 && error == ELOOP) throw Error(ErrorKind::kData, concat(path.string(), " is a symbolic link"));
  if (descriptor < 0) throw_errno(kind_of_open(error), "open", path, error);
  File file(descriptor, path);
  if (!file.look()) throw Error(ErrorKind::kData, concat(path.string(), " is not a regular file"));
  return file;
}

File File::open_input(const Path& path, ErrorKind forbidden) {
  const int descriptor = ::open(path.c_str(), kRead), error = errno;
  if (descriptor < 0) {
    throw Error(error == EACCES ? forbidden : kind_of_open(error),
                concat(path.string(), ": cannot open: ", reason_of(error)));
  }
  File file(descriptor, path);
  if (!file.look()) throw Error(ErrorKind::kData, concat(path.string(), ": not a regular file"));
  return file;
}

bool File::look() {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) throw_errno(ErrorKind::kIo, "look at", path_, errno);
  if (!S_ISREG(info.st_mode)) return false;
  bytes_ = info.st_size;
  return true;
}

void File::preallocate(int64_t bytes) {
  if (bytes == 0) return;
  // Not posix_fallocate: where the file system cannot, that writes a byte into every block.
  while (::fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return;
    throw_errno(ErrorKind::kIo, concat("allocate ", bytes, " bytes of"), path_, errno);
  }
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
      throw_errno(ErrorKind::kIo, concat("read byte ", offset, " of"), path_, errno);
    }
    if (n == 0) {
      throw Error(ErrorKind::kData, concat(path_.string(), ": ends at byte ", offset, ", want ", bytes,
                                           " more; it had ", bytes_, " bytes when it was opened"));
    }
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

OutputFile::OutputFile(const std::string& path)
    : path_(path), file_(File::create(aside_of(path), ErrorKind::kCannotCreate)) {
  buffer_.reserve(kBufferBytes);
}

OutputFile::OutputFile(const std::string& path, const std::string& temporary, int64_t kept_bytes)
    : path_(path), stays_(true), flushed_bytes_(kept_bytes) {
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(ErrorKind::kCannotCreate, "create", temporary, errno);
  file_ = File(descriptor, temporary);
  if (const auto bytes = static_cast<int64_t>(std::filesystem::file_size(temporary)); bytes < kept_bytes)
    throw Error(ErrorKind::kData, concat(temporary, ": has ", bytes, " bytes, want at least ", kept_bytes));
  file_.resize(kept_bytes);
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  if (file_.descriptor() >= 0 && !stays_) ::unlink(file_.path().c_str());
}

void OutputFile::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const size_t part = std::min(data.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(part));
    data = data.subspan(part);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void OutputFile::flush() {
  const int64_t bytes = static_cast<int64_t>(buffer_.size());
  file_.write(buffer_.data(), bytes, flushed_bytes_);
  flushed_bytes_ += bytes;
  buffer_.clear();
}

void OutputFile::sync() {
  flush();
  file_.sync();
}

void OutputFile::publish() {
  rename_file(file_.path(), path_, ErrorKind::kCannotCreate);
  file_ = File();
  // The new name is safe only when its folder is on the disk too; a file system that cannot sync folders is no error.
  const File directory = open_directory(Path(path_).parent_path());
  static_cast<void>(::fsync(directory.descriptor()));
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "retain-XXXXXX";
  if (!::mkdtemp(pattern.data())) throw_errno(ErrorKind::kCannotCreate, "mkdtemp", pattern, errno);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void sync_directory(const Path& directory) {
  File file = open_directory(directory);
  if (file.descriptor() < 0) throw_errno(ErrorKind::kIo, "open", directory, errno);
  file.sync();
}

void rename_durably(const Path& from, const Path& to, ErrorKind kind) {
  rename_file(from, to, kind);
  sync_directory(to.parent_path());
}

void write_new_file(const Path& path, std::string_view text) {
  File file = File::create(path);
  file.write(text.data(), static_cast<int64_t>(text.size()), 0);
  file.sync();
  file.close();
}

void replace_file(const Path& path, std::string_view text) {
  const Path aside = aside_of(path);
  try {
    write_new_file(aside, text);
    rename_durably(aside, path);
  } catch (const Error&) {
    ::unlink(aside.c_str());
    throw;
  }
}

std::string read_text(const File& file, int64_t limit_bytes) {
  if (file.bytes() > limit_bytes) {
    throw Error(ErrorKind::kData,
                concat(file.path().string(), ": has ", file.bytes(), " bytes, want at most ", limit_bytes));
  }
  std::string text(static_cast<size_t>(file.bytes()), '\0');
  file.read(text.data(), file.bytes(), 0);
  return text;
}

std::string make_nonce() {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) {
    throw_errno(ErrorKind::kIo, "getrandom", "nonce", errno);
  }
  return fmt::format("{:016x}", value);
}

}  // namespace retain
