#include "trainer/open_files.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "kernels/core/error.h"

namespace retain {

OpenFiles::OpenFiles(size_t most, Open open_file) : most_(std::max<size_t>(1, most)), open_file_(open_file) {}

size_t OpenFiles::default_most() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
  return static_cast<size_t>(std::clamp<rlim_t>(limit.rlim_cur / 8, 4, 256));
}

std::shared_ptr<const File> OpenFiles::open(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  Entry& entry = entries_[path];
  entry.last_use = ++uses_;
  if (entry.file) return entry.file;
  if (open_ >= most_) close_longest_unused();
  auto file = std::make_shared<const File>(open_file_(path));
  const Identity now = identity_of(*file);
  if (entry.identity == Identity{}) {
    entry.identity = now;
  } else if (entry.identity != now) {
    throw Error(ErrorKind::kData, concat(path, ": was written or replaced while it was in use"));
  }
  entry.file = std::move(file);
  ++open_;
  return entry.file;
}

bool OpenFiles::is_unchanged(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  const Entry& entry = entries_[path];
  return !entry.file || identity_of(*entry.file) == entry.identity;  // one that was closed is looked at by open()
}

OpenFiles::Identity OpenFiles::identity_of(const File& file) {
  struct stat info {};
  if (::fstat(file.descriptor(), &info) != 0) throw_errno(ErrorKind::kIo, "fstat", file.path(), errno);
  return {
      .inode = info.st_ino, .bytes = info.st_size, .seconds = info.st_mtim.tv_sec, .nanoseconds = info.st_mtim.tv_nsec};
}

void OpenFiles::close_longest_unused() {
  Entry* oldest = nullptr;
  for (auto& [path, entry] : entries_) {
    if (entry.file && (!oldest || entry.last_use < oldest->last_use)) oldest = &entry;
  }
  if (!oldest) return;
  oldest->file.reset();
  --open_;
}

}  // namespace retain
