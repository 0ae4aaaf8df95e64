#include "trainer/checkpoint/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "parallel/host_name.h"

namespace retain {

namespace {

constexpr int64_t kLockLimitBytes = 64 << 10;

// One line of a small system file; empty when it cannot be read.
std::string line_of(const Path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// When the process started, in clock ticks after boot: tells a process from a later one with its number. Empty when
// there is none: a zombie, which only waits for somebody to ask how it ended, counts as none.
std::string start_time_of(int64_t pid) {
  const std::string stat = line_of("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');  // the name may hold blanks
  if (name_end == std::string::npos) return {};
  std::istringstream fields(stat.substr(name_end + 1));
  std::string state, field;
  fields >> state;
  if (state == "Z" || state == "X") return {};
  constexpr int kStartTimeField = 19;  // counted from the field after the state
  for (int i = 0; i < kStartTimeField; ++i) fields >> field;
  return field;
}

// Processes are comparable by number only inside one boot of one machine and one process namespace.
std::string process_space() {
  std::error_code error;
  const Path space = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  return line_of("/proc/sys/kernel/random/boot_id") + " " + space.string();
}

std::map<std::string, std::string> fields_of(const std::string& text) {
  std::map<std::string, std::string> fields;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return fields;
}

std::string describe_holder(const std::string& text) {
  const auto fields = fields_of(text);
  const auto get = [&](const char* key) { return fields.contains(key) ? fields.at(key) : std::string("unknown"); };
  return concat("process ", get("pid"), " on ", get("host"), ", job ", get("job"));
}

std::string own_text() {
  const char* job = std::getenv("SLURM_JOB_ID");  // only named in messages
  const int64_t pid = ::getpid();
  return concat("host: ", host_name(), "\npid: ", pid, "\njob: ", job ? job : "none", "\nspace: ", process_space(),
                "\nstarted: ", start_time_of(pid), "\nnonce: ", make_nonce(), "\n");
}

// The lock's text, or nothing when there is no lock.
std::string read_lock(const Path& path) {
  try {
    const std::string text = read_text(File::open(path), kLockLimitBytes);
    return text.empty() ? "unreadable\n" : text;
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kMissingInput) return {};
    throw;
  }
}

double modified_seconds(const Path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return -1;
  return static_cast<double>(info.st_mtim.tv_sec) + 1e-9 * static_cast<double>(info.st_mtim.tv_nsec);
}

bool holder_is_gone(const std::string& text) {
  const auto fields = fields_of(text);
  if (!fields.contains("space") || !fields.contains("pid") || !fields.contains("host")) return false;
  if (fields.at("host") != host_name() || fields.at("space") != process_space()) return false;
  const int64_t pid = std::atoll(fields.at("pid").c_str());
  return fields.contains("started") && start_time_of(pid) != fields.at("started");
}

// A file of ours next to the lock; removed at the end of the attempt.
class Claim {
 public:
  Claim(Path path, const std::string& text) : path_(std::move(path)) { write_new_file(path_, text); }
  ~Claim() { ::unlink(path_.c_str()); }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  const Path& path() const { return path_; }

 private:
  Path path_;
};

// Both stamps come from the file system's own clock, so that clocks of two machines need not agree.
bool is_stale(const Path& path, const std::string& text, const Path& fresh_file, double stale_seconds) {
  if (holder_is_gone(text)) return true;
  ::utimensat(AT_FDCWD, fresh_file.c_str(), nullptr, 0);
  const double then = modified_seconds(path), now = modified_seconds(fresh_file);
  return then >= 0 && now - then > stale_seconds;
}

// link() makes a name for a complete file, or fails if the name is taken: the atomic step of every lock here.
bool link_new(const Path& from, const Path& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return true;
  if (errno != EEXIST) throw_errno(ErrorKind::kCannotCreate, "create", to, errno);
  return false;
}

// Takes over the stale lock `old_text`. Only the holder of the takeover file may replace that lock, so one of several
// newcomers wins.
bool take_over(const Path& lock, const std::string& old_text, const Path& own_file, double stale_seconds) {
  Path takeover = lock;
  takeover += ".takeover";
  if (!link_new(own_file, takeover)) {
    if (is_stale(takeover, read_lock(takeover), own_file, stale_seconds)) ::unlink(takeover.c_str());
    return false;
  }
  const bool unchanged = read_lock(lock) == old_text;
  // The takeover file is itself a name of our text: renaming it installs the lock and ends the takeover at once.
  if (unchanged && ::rename(takeover.c_str(), lock.c_str()) == 0) return true;
  ::unlink(takeover.c_str());
  return false;
}

}  // namespace

RunLock::RunLock(const Path& run_directory, Timing timing)
    : path_(run_directory / "LOCK"), timing_(timing), text_(own_text()) {
  bool held = false;
  try {
    const Claim claim(run_directory / concat("LOCK.", make_nonce()), text_);
    constexpr int kAttempts = 3;  // a lock may vanish between being seen and being read
    for (int attempt = 0; attempt < kAttempts && !held; ++attempt) {
      held = link_new(claim.path(), path_);
      if (held) break;
      const std::string holder = read_lock(path_);
      if (holder.empty()) continue;
      if (is_stale(path_, holder, claim.path(), timing_.stale_seconds)) {
        held = take_over(path_, holder, claim.path(), timing_.stale_seconds);
      } else {
        throw Error(ErrorKind::kCannotCreate,
                    concat(run_directory.string(), " is in use by ", describe_holder(holder)));
      }
    }
    sync_directory(run_directory);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kIo) throw;
    throw Error(ErrorKind::kCannotCreate, concat("lock ", run_directory.string(), ": ", e.what()));
  }
  if (!held) {
    throw Error(ErrorKind::kCannotCreate,
                concat(run_directory.string(), " is being taken by ", describe_holder(read_lock(path_))));
  }
  renewer_ = std::thread([this] { renew_until_stopped(); });
}

RunLock::~RunLock() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  renewer_.join();
  try {
    if (read_lock(path_) == text_) ::unlink(path_.c_str());
  } catch (const std::exception&) {
    return;  // it will count as stale
  }
}

void RunLock::check_held() const {
  const std::string now = read_lock(path_);
  if (now == text_) return;
  throw Error(ErrorKind::kCannotCreate,
              now.empty() ? concat("the lock ", path_.string(), " was removed while this run held it")
                          : concat("the lock ", path_.string(), " was taken over by ", describe_holder(now)));
}

void RunLock::renew_until_stopped() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the main thread's
  std::unique_lock guard(mutex_);
  const auto period = std::chrono::duration<double>(timing_.renew_seconds);
  while (!stop_changed_.wait_for(guard, period, [this] { return stop_; })) {
    // Not ours any more: its new holder renews it.
    try {
      if (read_lock(path_) == text_) {
        ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
      } else {
        lost_ = true;
      }
    } catch (const std::exception&) {
      continue;  // a sick disk: the next attempt, or the next commit, will tell
    }
  }
}

}  // namespace retain
