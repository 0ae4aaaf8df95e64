#include "trainer/run/report_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace retain {

namespace {

/// Takes what was written off `bytes`. The error that stopped it, or 0.
int write_all(int descriptor, std::string_view& bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {  // whoever shares this pipe made it non-blocking
      pollfd ready{.fd = descriptor, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

/// The length of a file up to the end of its last whole line. A line that only lacks its end is whole: an object of
/// JSON that is closed.
int64_t bytes_of_whole_lines(int descriptor, int64_t bytes) {
  std::array<char, 4096> block{};
  for (int64_t end = bytes; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - static_cast<int64_t>(block.size()));
    const ssize_t n = ::pread(descriptor, block.data(), static_cast<size_t>(end - begin), begin);
    if (n != end - begin) return bytes;  // a sick disk: writing will tell
    const std::string_view text(block.data(), static_cast<size_t>(n));
    if (end == bytes && text.ends_with('}')) return bytes;
    if (const size_t newline = text.rfind('\n'); newline != text.npos) return begin + static_cast<int64_t>(newline) + 1;
    end = begin;
  }
  return 0;
}

/// Is the file's last line without its end?
bool ends_inside_a_line(int descriptor, int64_t bytes) {
  char last = '\n';
  return bytes > 0 && ::pread(descriptor, &last, 1, bytes - 1) == 1 && last != '\n';
}

}  // namespace

AppendedFile::AppendedFile(std::string name, Path path, std::string opening, Records records)
    : ReportSink(std::move(name)), path_(std::move(path)), opening_(std::move(opening)), records_(records) {}

void AppendedFile::open() {
  const int descriptor = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(ErrorKind::kCannotCreate, "open", path_, errno);
  file_ = File(descriptor, path_);
  struct stat info {};
  const bool known = ::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode);
  if (!opened_ || (known && info.st_size == 0)) before_ = opening_;
  opened_ = true;
  torn_ = false;
  if (!known || cut_at_bytes_ > info.st_size) cut_at_bytes_ = -1;  // another file
  if (!known || cut_at_bytes_ >= 0 || records_ != Records::kLines) return;
  const int64_t whole = bytes_of_whole_lines(descriptor, info.st_size);
  if (whole < info.st_size) cut_at_bytes_ = whole;
  torn_ = whole == info.st_size && ends_inside_a_line(descriptor, whole);
}

void AppendedFile::write(std::string_view record) {
  struct stat info {};
  if (file_.descriptor() < 0 || ::fstat(file_.descriptor(), &info) != 0 || info.st_nlink == 0) open();
  if (cut_at_bytes_ >= 0) file_.resize(cut_at_bytes_);
  cut_at_bytes_ = -1;
  const int64_t end = ::lseek(file_.descriptor(), 0, SEEK_END);
  const std::string whole = concat(torn_ ? "\n" : "", before_, record);
  std::string_view rest = whole;
  const int error = write_all(file_.descriptor(), rest);
  if (error == 0) {
    torn_ = false;
    return before_.clear();
  }
  if (rest.size() < whole.size() && end >= 0 && ::ftruncate(file_.descriptor(), end) != 0) cut_at_bytes_ = end;
  throw_errno(ErrorKind::kIo, "write", path_, error);
}

void AppendedFile::sync() {
  if (file_.descriptor() < 0 || ::fsync(file_.descriptor()) == 0) return;
  if (errno != EINVAL && errno != EROFS) throw_errno(ErrorKind::kIo, "fsync", path_, errno);  // no device can
}

void StandardStream::write(std::string_view record) {
  const std::string text = concat(torn_ ? "\n" : "", record), line = bottom_ ? bottom_->under(text) : text;
  std::string_view rest = line;
  const int error = write_all(descriptor_, rest);
  torn_ = error != 0 && (torn_ || rest.size() < line.size());
  if (error != 0) throw_errno(ErrorKind::kIo, "write", name(), error);
}

void TerminalBottom::write(std::string_view record) {
  const std::string text = bottom_.replace_by(std::string(record));
  std::string_view rest = text;
  const int error = write_all(descriptor_, rest);
  if (error != 0) throw_errno(ErrorKind::kIo, "write", name(), error);
}

}  // namespace retain
