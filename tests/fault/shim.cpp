// Preloaded into a process, it sits between the process and every call that changes or reads files below FAULT_DIR.
//   FAULT_DIR         the watched directory; without it nothing is done
//   FAULT_RANK        only this rank's calls are counted for FAULT_AT (default: any)
//   FAULT_CALLS       "read": those that read are counted (open, openat, opendir, fdopendir, readdir, read, pread,
//                     fstat, stat, lstat); else those that change something
//   FAULT_AT=n        at the n-th call (from 1) of such a rank …
//   FAULT_MODE        kill: the process dies before it; torn: half of a write is done, other calls whole, then it dies;
//                     eio, enospc, estale, emfile, eacces, enoent: the call fails (a failed fsync or close of the same
//                     file is not repeated); hang: it never returns; slow: it takes five seconds
//   FAULT_READ_COUNT  a file that gets the number of reading calls when the process ends
//   FAULT_COUNTS      a prefix: PREFIX.RANK gets the numbers of calls by kind then, as "name number" lines
//   FAULT_JOURNAL     every changing call is written down there (journal.h)
//   FAULT_NO_SYNC     fsync does nothing and is not written down: a writer that forgot it
//   FAULT_NO_ALLOCATE the disk cannot allocate space
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "tests/fault/journal.h"

using retain::fault::Call;
using retain::fault::RecordHeader;

namespace {

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// Calls by kind: those that read, bytes for what they ask for, and those that change something.
struct Counts {
  long opens = 0, lists = 0, looks = 0, reads = 0, read_bytes = 0, changes = 0;
};

// Settings and counters of this process. A preloaded library has no main that could own them.
class Shim {
 public:
  static Shim& instance() {
    static Shim shim;
    return shim;
  }

  bool watches(const char* path) const {
    return path && !directory_.empty() && std::strncmp(path, directory_.c_str(), directory_.size()) == 0;
  }
  // The watched path that a descriptor was opened with; nullptr for all others.
  const char* path_of(int descriptor) {
    const std::lock_guard guard(mutex_);
    return descriptor >= 0 && descriptor < kDescriptors && !paths_[index(descriptor)].empty()
               ? paths_[index(descriptor)].c_str()
               : nullptr;
  }
  void remember(int descriptor, const char* path) {
    const std::lock_guard guard(mutex_);
    if (descriptor >= 0 && descriptor < kDescriptors) paths_[index(descriptor)] = path;
  }
  void forget(int descriptor) {
    const std::lock_guard guard(mutex_);
    if (descriptor >= 0 && descriptor < kDescriptors) paths_[index(descriptor)].clear();
  }
  bool drops_sync() const { return drops_sync_; }
  bool allocates() const { return allocates_; }
  void remember(DIR* list) {
    const std::lock_guard guard(mutex_);
    lists_.insert(list);
  }
  bool watches(DIR* list) {
    const std::lock_guard guard(mutex_);
    return lists_.contains(list);
  }
  void forget(DIR* list) {
    const std::lock_guard guard(mutex_);
    lists_.erase(list);
  }

  // Counts a reading call, of a kind if it is one of those. Does it fail? Then errno says how.
  bool fails_to_read(long Counts::*kind = nullptr, size_t bytes = 0) {
    {
      const std::lock_guard guard(call_mutex_);
      if (kind) ++(counts_.*kind);
      counts_.read_bytes += static_cast<long>(bytes);
      if (++reads_ != at_ || !counted_ || !counts_reads_) return false;
    }
    if (takes_time()) return false;
    errno = error();
    return true;
  }

  // Does the call (a callable giving 0 or more on success), or what the settings make of it. `half` does its first
  // half.
  template <class Work, class Half>
  auto around(RecordHeader header, const char* path, const char* path2, const void* data, Work&& work, Half&& half)
      -> decltype(work()) {
    std::unique_lock guard(call_mutex_);
    ++counts_.changes;
    if (counted_ && !counts_reads_ && ++calls_ == at_) {
      if (mode_ == "kill") die();
      if (mode_ == "hang" || mode_ == "slow") {
        guard.unlock();
        takes_time();
        return work();
      }
      if (mode_ == "torn") {
        half();
        die();
      }
      errno = error();
      return -1;
    }
    if (journal_ < 0) return work();
    // The lock makes the order of the journal the order of the calls, on all ranks.
    ::flock(journal_, LOCK_EX);
    const auto result = work();
    const int error = errno;
    if (result >= 0) write_down(header, path, path2, data);
    ::flock(journal_, LOCK_UN);
    errno = error;
    return result;
  }

 private:
  static constexpr int kDescriptors = 1024;
  static size_t index(int descriptor) { return static_cast<size_t>(descriptor); }

  Shim() {
    const auto setting = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value ? value : "");
    };
    directory_ = setting("FAULT_DIR");
    const std::string rank = setting("OMPI_COMM_WORLD_RANK"), wanted = setting("FAULT_RANK");
    rank_ = static_cast<uint32_t>(std::atoi(rank.c_str()));
    at_ = std::atol(setting("FAULT_AT").c_str());
    counted_ = at_ > 0 && (wanted.empty() || wanted == (rank.empty() ? "0" : rank));
    mode_ = setting("FAULT_MODE");
    counts_reads_ = setting("FAULT_CALLS") == "read";
    read_count_file_ = setting("FAULT_READ_COUNT");
    if (const std::string prefix = setting("FAULT_COUNTS"); !prefix.empty())
      counts_file_ = prefix + "." + std::to_string(rank_);
    drops_sync_ = !setting("FAULT_NO_SYNC").empty();
    allocates_ = setting("FAULT_NO_ALLOCATE").empty();
    if (const std::string journal = setting("FAULT_JOURNAL"); !journal.empty()) {
      journal_ =
          next<int(const char*, int, ...)>("open")(journal.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
  }

  ~Shim() {
    write_text(read_count_file_, std::to_string(reads_));
    std::string text;
    const auto add = [&](const char* name, long count) {
      text += std::string(name) + " " + std::to_string(count) + "\n";
    };
    add("opens", counts_.opens);
    add("lists", counts_.lists);
    add("looks", counts_.looks);
    add("reads", counts_.reads);
    add("read_bytes", counts_.read_bytes);
    add("changes", counts_.changes);
    write_text(counts_file_, text);
  }

  static void write_text(const std::string& path, const std::string& text) {
    std::FILE* file = path.empty() ? nullptr : std::fopen(path.c_str(), "w");
    if (!file) return;
    std::fputs(text.c_str(), file);
    std::fclose(file);
  }

  int error() const {
    constexpr std::array<std::pair<std::string_view, int>, 6> kErrors = {{{"eio", EIO},
                                                                          {"enospc", ENOSPC},
                                                                          {"estale", ESTALE},
                                                                          {"emfile", EMFILE},
                                                                          {"eacces", EACCES},
                                                                          {"enoent", ENOENT}}};
    for (const auto& [name, number] : kErrors) {
      if (name == mode_) return number;
    }
    return EIO;
  }

  // Takes it where the mode says so; false where it does not.
  bool takes_time() const {
    while (mode_ == "hang") ::pause();
    if (mode_ != "slow") return false;
    std::this_thread::sleep_for(std::chrono::seconds(5));
    return true;
  }

  [[noreturn]] static void die() {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }

  void write_down(RecordHeader header, const char* path, const char* path2, const void* data) const {
    header.rank = rank_;
    header.path_bytes = static_cast<uint32_t>(std::strlen(path));
    header.path2_bytes = path2 ? static_cast<uint32_t>(std::strlen(path2)) : 0;
    std::string record(reinterpret_cast<const char*>(&header), sizeof header);
    record += path;
    if (path2) record += path2;
    if (data) record.append(static_cast<const char*>(data), static_cast<size_t>(header.data_bytes));
    const char* from = record.data();
    for (size_t left = record.size(); left > 0;) {
      const ssize_t n = next<ssize_t(int, const void*, size_t)>("write")(journal_, from, left);
      if (n < 0) std::abort();
      from += n;
      left -= static_cast<size_t>(n);
    }
  }

  std::string directory_, mode_, read_count_file_, counts_file_;
  bool counted_ = false, counts_reads_ = false, drops_sync_ = false, allocates_ = true;
  long at_ = 0, calls_ = 0, reads_ = 0;
  Counts counts_;
  uint32_t rank_ = 0;
  int journal_ = -1;
  std::mutex mutex_, call_mutex_;
  std::array<std::string, kDescriptors> paths_;
  std::set<DIR*> lists_;
};

template <class Work>
int change(Call call, const char* path, const char* path2, int64_t size, Work&& work) {
  return Shim::instance().around({.call = call, .offset = size}, path, path2, nullptr, work, work);
}

int open_file(const char* function, const char* path, int flags, mode_t mode) {
  const auto real = next<int(const char*, int, ...)>(function);
  Shim& shim = Shim::instance();
  if (!shim.watches(path)) return real(path, flags, mode);
  const bool creates = (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
  if (!creates && shim.fails_to_read(&Counts::opens)) return -1;
  const int descriptor = creates ? change(Call::kCreate, path, nullptr, 0, [&] { return real(path, flags, mode); })
                                 : real(path, flags, mode);
  if (descriptor >= 0) shim.remember(descriptor, path);
  return descriptor;
}

// Relative to an open folder nothing is watched.
int open_file_at(const char* function, int folder, const char* path, int flags, mode_t mode) {
  if (folder == AT_FDCWD || (path && path[0] == '/'))
    return open_file(function == std::string_view("openat") ? "open" : "open64", path, flags, mode);
  return next<int(int, const char*, int, ...)>(function)(folder, path, flags, mode);
}

struct dirent* read_list(const char* function, DIR* list) {
  Shim& shim = Shim::instance();
  if (shim.watches(list) && shim.fails_to_read()) return nullptr;
  return next<struct dirent*(DIR*)>(function)(list);
}

mode_t mode_argument(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

ssize_t write_at(const char* function, int descriptor, const void* data, size_t bytes, off_t offset) {
  const auto real = next<ssize_t(int, const void*, size_t, off_t)>(function);
  Shim& shim = Shim::instance();
  const char* path = shim.path_of(descriptor);
  if (!path) return real(descriptor, data, bytes, offset);
  return shim.around(
      {.call = Call::kWrite, .offset = offset, .data_bytes = static_cast<int64_t>(bytes)}, path, nullptr, data,
      [&] { return real(descriptor, data, bytes, offset); }, [&] { return real(descriptor, data, bytes / 2, offset); });
}

int resize(const char* function, int descriptor, off_t size) {
  const auto real = next<int(int, off_t)>(function);
  const char* path = Shim::instance().path_of(descriptor);
  if (!path) return real(descriptor, size);
  return change(Call::kTruncate, path, nullptr, size, [&] { return real(descriptor, size); });
}

int allocate(const char* function, int descriptor, int mode, off_t offset, off_t size) {
  const auto real = next<int(int, int, off_t, off_t)>(function);
  const char* path = Shim::instance().path_of(descriptor);
  if (!path) return real(descriptor, mode, offset, size);
  if (!Shim::instance().allocates()) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return change(Call::kAllocate, path, nullptr, offset + size, [&] { return real(descriptor, mode, offset, size); });
}

// What glibc makes of it: without help from the disk it writes a byte into every block. It returns its error.
int allocate_by_any_means(int descriptor, off_t offset, off_t size) {
  constexpr off_t kBlockBytes = 4096;
  if (::fallocate(descriptor, 0, offset, size) == 0) return 0;
  if (errno != EOPNOTSUPP) return errno;
  for (off_t at = offset; at < offset + size; at += kBlockBytes) {
    if (::pwrite(descriptor, "", 1, at) != 1) return errno;
  }
  return 0;
}

ssize_t read_at(const char* function, int descriptor, void* to, size_t bytes, off_t offset) {
  Shim& shim = Shim::instance();
  if (shim.path_of(descriptor) && shim.fails_to_read(&Counts::reads, bytes)) return -1;
  return next<ssize_t(int, void*, size_t, off_t)>(function)(descriptor, to, bytes, offset);
}

int look(const char* function, const char* path, struct stat* info) {
  Shim& shim = Shim::instance();
  if (shim.watches(path) && shim.fails_to_read(&Counts::looks)) return -1;
  return next<int(const char*, struct stat*)>(function)(path, info);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_file("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_file("open64", path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_file_at("openat", folder, path, flags, mode);
}

int openat64(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return open_file_at("openat64", folder, path, flags, mode);
}
// The same in libraries that were built with _FORTIFY_SOURCE, as libstdc++ is on Ubuntu.
int __open_2(const char* path, int flags) { return open_file("open", path, flags, 0); }
int __open64_2(const char* path, int flags) { return open_file("open64", path, flags, 0); }
int __openat_2(int folder, const char* path, int flags) { return open_file_at("openat", folder, path, flags, 0); }
int __openat64_2(int folder, const char* path, int flags) { return open_file_at("openat64", folder, path, flags, 0); }

int close(int descriptor) {
  Shim::instance().forget(descriptor);
  return next<int(int)>("close")(descriptor);
}

ssize_t pwrite(int descriptor, const void* data, size_t bytes, off_t offset) {
  return write_at("pwrite", descriptor, data, bytes, offset);
}
ssize_t pwrite64(int descriptor, const void* data, size_t bytes, off_t offset) {
  return write_at("pwrite64", descriptor, data, bytes, offset);
}
int ftruncate(int descriptor, off_t size) noexcept { return resize("ftruncate", descriptor, size); }
int ftruncate64(int descriptor, off_t size) noexcept { return resize("ftruncate64", descriptor, size); }
int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  return allocate("fallocate", descriptor, mode, offset, size);
}
int fallocate64(int descriptor, int mode, off_t offset, off_t size) {
  return allocate("fallocate64", descriptor, mode, offset, size);
}
int posix_fallocate(int descriptor, off_t offset, off_t size) {
  return allocate_by_any_means(descriptor, offset, size);
}
int posix_fallocate64(int descriptor, off_t offset, off_t size) {
  return allocate_by_any_means(descriptor, offset, size);
}

ssize_t pread(int descriptor, void* to, size_t bytes, off_t offset) {
  return read_at("pread", descriptor, to, bytes, offset);
}
ssize_t pread64(int descriptor, void* to, size_t bytes, off_t offset) {
  return read_at("pread64", descriptor, to, bytes, offset);
}
ssize_t read(int descriptor, void* to, size_t bytes) {
  Shim& shim = Shim::instance();
  if (shim.path_of(descriptor) && shim.fails_to_read(&Counts::reads, bytes)) return -1;
  return next<ssize_t(int, void*, size_t)>("read")(descriptor, to, bytes);
}
int fstat(int descriptor, struct stat* info) noexcept {
  Shim& shim = Shim::instance();
  if (shim.path_of(descriptor) && shim.fails_to_read()) return -1;
  return next<int(int, struct stat*)>("fstat")(descriptor, info);
}
int stat(const char* path, struct stat* info) noexcept { return look("stat", path, info); }
int lstat(const char* path, struct stat* info) noexcept { return look("lstat", path, info); }

DIR* opendir(const char* path) {
  Shim& shim = Shim::instance();
  if (!shim.watches(path)) return next<DIR*(const char*)>("opendir")(path);
  if (shim.fails_to_read(&Counts::lists)) return nullptr;
  DIR* list = next<DIR*(const char*)>("opendir")(path);
  if (list) shim.remember(list);
  return list;
}
DIR* fdopendir(int descriptor) {
  Shim& shim = Shim::instance();
  if (!shim.path_of(descriptor)) return next<DIR*(int)>("fdopendir")(descriptor);
  if (shim.fails_to_read(&Counts::lists)) return nullptr;
  DIR* list = next<DIR*(int)>("fdopendir")(descriptor);
  if (!list) return nullptr;
  shim.remember(list);
  shim.forget(descriptor);  // closedir() closes it
  return list;
}
struct dirent* readdir(DIR* list) {
  return read_list("readdir", list);
}
struct dirent64* readdir64(DIR* list) {
  return reinterpret_cast<struct dirent64*>(read_list("readdir64", list));
}
int closedir(DIR* list) {
  Shim::instance().forget(list);
  return next<int(DIR*)>("closedir")(list);
}

int fsync(int descriptor) {
  Shim& shim = Shim::instance();
  const char* path = shim.path_of(descriptor);
  const auto real = next<int(int)>("fsync");
  if (!path) return real(descriptor);
  if (shim.drops_sync()) return 0;
  return change(Call::kSync, path, nullptr, 0, [&] { return real(descriptor); });
}

int mkdir(const char* path, mode_t mode) noexcept {
  const auto real = next<int(const char*, mode_t)>("mkdir");
  if (!Shim::instance().watches(path)) return real(path, mode);
  return change(Call::kMakeDirectory, path, nullptr, 0, [&] { return real(path, mode); });
}
int rmdir(const char* path) noexcept {
  const auto real = next<int(const char*)>("rmdir");
  if (!Shim::instance().watches(path)) return real(path);
  return change(Call::kRemoveDirectory, path, nullptr, 0, [&] { return real(path); });
}
int unlink(const char* path) noexcept {
  const auto real = next<int(const char*)>("unlink");
  if (!Shim::instance().watches(path)) return real(path);
  return change(Call::kUnlink, path, nullptr, 0, [&] { return real(path); });
}
int link(const char* from, const char* to) noexcept {
  const auto real = next<int(const char*, const char*)>("link");
  if (!Shim::instance().watches(to)) return real(from, to);
  return change(Call::kLink, from, to, 0, [&] { return real(from, to); });
}
int rename(const char* from, const char* to) noexcept {
  const auto real = next<int(const char*, const char*)>("rename");
  if (!Shim::instance().watches(to)) return real(from, to);
  return change(Call::kRename, from, to, 0, [&] { return real(from, to); });
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  const auto real = next<int(int, const char*, int, const char*, unsigned)>("renameat2");
  if (!Shim::instance().watches(to)) return real(from_directory, from, to_directory, to, flags);
  const Call call = (flags & RENAME_EXCHANGE) != 0 ? Call::kExchange : Call::kRename;
  return change(call, from, to, 0, [&] { return real(from_directory, from, to_directory, to, flags); });
}

}  // extern "C"
