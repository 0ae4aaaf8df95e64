#include "trainer/checkpoint/lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "parallel/health/stacks.h"
#include "parallel/host_name.h"

namespace retain {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLockLimitBytes = 64 << 10;
constexpr std::chrono::milliseconds kPoll{50};
constexpr std::chrono::seconds kSecondLook{1};
// Of the time between two looks no more counts as watched: a file system that stood still did so for the holder too.
constexpr double kLongestWatchSeconds = 1;

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

// Tells a folder from a copy of it. Comparable on one machine only: others number devices otherwise.
std::string identity_of(const Path& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) throw_errno(ErrorKind::kIo, "look at", directory, errno);
  return concat(info.st_dev, ":", info.st_ino);
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

// The job of this process, whatever scheduler started it; "none". Slurm's clusters number their jobs each for itself.
std::string own_job() {
  for (const char* const name : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"}) {
    const std::string job = variable(name), cluster = variable("SLURM_CLUSTER_NAME");
    if (job.empty()) continue;
    return name == std::string_view("SLURM_JOB_ID") && !cluster.empty() ? concat(job, " of ", cluster) : job;
  }
  return "none";
}

std::string own_text(const Path& directory) {
  const int64_t pid = ::getpid();
  const std::string restarts = variable("SLURM_RESTART_COUNT");  // not set in the first life of a job
  return concat("host: ", host_name(), "\npid: ", pid, "\njob: ", own_job(),
                "\nrestarts: ", restarts.empty() ? "0" : restarts, "\nspace: ", process_space(),
                "\nstarted: ", start_time_of(pid), "\ndirectory: ", identity_of(directory), "\nnonce: ", make_nonce(),
                "\n");
}

// What is seen of a lock, all of it through one newly opened file: a client of a network file system then asks its
// server.
struct Sighting {
  std::string text;  // empty: there is no lock
  double stamp_seconds = 0;
  bool operator==(const Sighting&) const = default;
};

Sighting look_at(const Path& path) {
  try {
    const File file = File::open(path);
    struct stat info {};
    if (::fstat(file.descriptor(), &info) != 0) throw_errno(ErrorKind::kIo, "look at", path, errno);
    const std::string text = read_text(file, kLockLimitBytes);
    return {text.empty() ? "unreadable\n" : text,
            static_cast<double>(info.st_mtim.tv_sec) + 1e-9 * static_cast<double>(info.st_mtim.tv_nsec)};
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kMissingInput) return {};
    throw;
  }
}

std::string read_lock(const Path& path) { return look_at(path).text; }

enum class Holder : uint8_t {
  kGone,   // it was a process of this machine, or an earlier life of this job
  kHere,   // it is one, and this is the folder that it took
  kUnseen  // only its stamp can tell
};

// A scheduler starts a job again when it has ended the life before, on whatever machine that was.
bool is_earlier_life(const std::map<std::string, std::string>& holder, const std::map<std::string, std::string>& mine) {
  if (!holder.contains("job") || !holder.contains("restarts") || mine.at("job") == "none") return false;
  return holder.at("job") == mine.at("job") &&
         std::atoll(holder.at("restarts").c_str()) < std::atoll(mine.at("restarts").c_str());
}

Holder find_holder(const std::string& text, const std::string& own_text, const Path& directory) {
  const auto fields = fields_of(text);
  if (is_earlier_life(fields, fields_of(own_text))) return Holder::kGone;
  for (const char* key : {"host", "space", "pid", "started"}) {
    if (!fields.contains(key)) return Holder::kUnseen;
  }
  if (fields.at("host") != host_name() || fields.at("space") != process_space()) return Holder::kUnseen;
  if (start_time_of(std::atoll(fields.at("pid").c_str())) != fields.at("started")) return Holder::kGone;
  const bool copy = fields.contains("directory") && fields.at("directory") != identity_of(directory);
  return copy ? Holder::kUnseen : Holder::kHere;
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

// How long ago the stamp was set. Both come from the file system's own clock, so that clocks of two machines need not
// agree.
double age_seconds(const Sighting& sighting, const Path& fresh_file) {
  ::utimensat(AT_FDCWD, fresh_file.c_str(), nullptr, 0);
  return look_at(fresh_file).stamp_seconds - sighting.stamp_seconds;
}

// link() makes a name for a complete file, or fails if the name is taken: the atomic step of every lock here.
bool link_new(const Path& from, const Path& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return true;
  if (errno != EEXIST) throw_errno(ErrorKind::kCannotCreate, "create", to, errno);
  return false;
}

// Takes over the lock `old_text`, whose holder is gone. Only the holder of the takeover file may replace that lock, so
// one of several newcomers wins.
bool take_over(const Path& lock, const std::string& old_text, const Path& own_file, const std::string& own_text,
               double quiet_seconds) {
  Path takeover = lock;
  takeover += ".takeover";
  if (!link_new(own_file, takeover)) {
    const Sighting other = look_at(takeover);
    const bool gone = find_holder(other.text, own_text, lock.parent_path()) == Holder::kGone;
    if (!other.text.empty() && (gone || age_seconds(other, own_file) > quiet_seconds) &&
        ::unlink(takeover.c_str()) != 0 && errno != ENOENT) {
      throw_errno(ErrorKind::kIo, "delete", takeover, errno);
    }
    return false;
  }
  const bool unchanged = read_lock(lock) == old_text;
  // The takeover file is itself a name of our text: renaming it installs the lock and ends the takeover at once.
  if (unchanged && ::rename(takeover.c_str(), lock.c_str()) == 0) return true;
  ::unlink(takeover.c_str());
  return false;
}

}  // namespace

bool is_locked(const Path& run_directory, LockTiming timing) {
  const Sighting seen = look_at(run_directory / "LOCK");
  if (seen.text.empty()) return false;
  const Holder holder = find_holder(seen.text, own_text(run_directory), run_directory);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return holder == Holder::kHere || (holder == Holder::kUnseen && now - seen.stamp_seconds < timing.quiet_seconds);
}

RunLock::RunLock(const Path& run_directory, LockTiming timing, const Say& say)
    : path_(run_directory / "LOCK"), timing_(timing) {
  try {
    text_ = own_text(run_directory);
    const Claim claim(run_directory / concat("LOCK.", make_nonce()), text_);
    take(claim.path(), say);
    sync_directory(run_directory);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kIo) throw;
    throw Error(ErrorKind::kCannotCreate, concat("lock ", run_directory.string(), ": ", e.what()));
  }
  renewer_ = std::thread([this] { renew_until_stopped(); });
}

void RunLock::take(const Path& claim, const Say& say) {
  const std::string run = path_.parent_path().string();
  std::optional<Sighting> first;
  Clock::time_point last_look;
  double watched = 0;  // seconds
  while (!link_new(claim, path_)) {
    const Sighting now = look_at(path_);
    if (!now.text.empty()) {  // else it has gone since
      const Holder holder = find_holder(now.text, text_, path_.parent_path());
      const double age = age_seconds(now, claim);
      const Clock::time_point this_look = Clock::now();
      const bool begins = !first.has_value();
      if (begins) {
        first = now;
      } else {
        watched += std::min(std::chrono::duration<double>(this_look - last_look).count(), kLongestWatchSeconds);
      }
      last_look = this_look;
      // By this clock too, for a file system whose clock was set back.
      const double quiet = std::max(age, watched);
      const double limit = holder == Holder::kHere ? timing_.stale_seconds : timing_.quiet_seconds;
      const bool moved = now != *first, silent = !moved && quiet > limit;
      // An old stamp alone may be that of a holder that stood still for a while and lives.
      if (holder == Holder::kGone || (silent && watched >= timing_.watch_seconds)) {
        if (take_over(path_, now.text, claim, text_, timing_.quiet_seconds)) return;
      } else if (moved || (holder == Holder::kHere && !silent)) {
        throw Error(
            ErrorKind::kCannotCreate,
            fmt::format("{} is in use by {}, which gave a sign of life {:.0f} s ago: wait for its end, stop it, or "
                        "choose another run.dir",
                        run, describe_holder(now.text), std::max(age, 0.0)));
      } else if (begins) {
        say(fmt::format(
            "{} was taken by {}, whose last sign of life is {:.0f} s old; if there is none for {:.0f} s, this "
            "run takes it over",
            run, describe_holder(now.text), std::max(age, 0.0), std::max(limit - quiet, timing_.watch_seconds)));
      }
    }
    std::this_thread::sleep_for(kPoll);
  }
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
  std::string now = read_lock(path_);
  if (now.empty()) {  // a client of a network file system may err about that for a moment
    std::this_thread::sleep_for(kSecondLook);
    now = read_lock(path_);
  }
  if (now == text_) return;
  throw Error(ErrorKind::kCannotCreate,
              now.empty() ? concat("the lock ", path_.string(), " was removed while this run held it")
                          : concat("the lock ", path_.string(), " was taken over by ", describe_holder(now)));
}

void RunLock::renew_until_stopped() {
  leave_signals_to_main_thread();
  std::unique_lock guard(mutex_);
  const auto period = std::chrono::duration<double>(timing_.renew_seconds);
  while (!stop_changed_.wait_for(guard, period, [this] { return stop_; })) {
    // Not ours any more: its new holder renews it.
    try {
      lost_ = read_lock(path_) != text_;
      if (!lost_) ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
    } catch (const std::exception&) {
      continue;  // a sick disk: the next attempt, or the next commit, will tell
    }
  }
}

}  // namespace retain
