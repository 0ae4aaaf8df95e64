#include "launch/doctor/disk.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "kernels/core/error.h"
#include "parallel/agreement.h"
#include "trainer/file.h"

namespace retain::checkup {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr const char* kGroup = "disk";
constexpr int64_t kBlockBytes = int64_t{1} << 20, kMostBytes = int64_t{32} << 20, kLeastBlockBytes = 4096;
constexpr double kMostSeconds = 3;  // of writing, and of reading

// Below these, saves and loads take longer than people think of: a checkpoint of 1.4 B parameters is 17 GB.
constexpr double kSlowWrite = 100, kSlowRead = 100;  // MB/s of a machine's ranks together
constexpr double kSlowData = 1;                      // MB/s a rank: a GPU trains on less than 1 MB/s of tokens
constexpr double kSlowSync = 1;                      // seconds

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

std::string file_system_of(const Path& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return "unknown";
  switch (static_cast<uint32_t>(info.f_type)) {
    case 0xEF53: return "ext4";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case 0x01021994: return "tmpfs";
    case 0x794C7630: return "overlay";
    case 0x6969: return "nfs";
    case 0x0BD00BD0: return "lustre";
    case 0x47504653: return "gpfs";
    case 0x19830326: return "beegfs";
    case 0x2FC12FC1: return "zfs";
    case 0x65735546: return "fuse";
    case 0x00C36400: return "ceph";
    default: return fmt::format("type {:x}", static_cast<uint32_t>(info.f_type));
  }
}

/// Megabytes a second of moving blocks until there are enough or it has taken long enough.
double rate_of(int64_t most_bytes, int64_t block_bytes, const std::function<void(int64_t offset)>& move,
               const std::function<void()>& finish) {
  const auto begin = SteadyClock::now();
  int64_t bytes = 0;
  for (; bytes < most_bytes && seconds_since(begin) < kMostSeconds; bytes += block_bytes) move(bytes);
  finish();
  return static_cast<double>(bytes) * 1e-6 / std::max(seconds_since(begin), 1e-9);
}

/// What a run does with files, each by itself: a failure is written down and the next is tried.
class DiskProbe {
 public:
  /// Of so many ranks that do this at the same time, which take a quarter of what is free together.
  DiskProbe(const Path& folder, int rank, int ranks, DiskFacts& facts)
      : file_(folder / fmt::format("rank-{:05d}", rank)),
        most_bytes_(std::min(kMostBytes, free_disk_bytes(folder).value_or(4 * kMostBytes * ranks) / 4 / ranks)),
        block_bytes_(std::clamp(most_bytes_ / 4, kLeastBlockBytes, kBlockBytes)),
        facts_(facts) {}
  ~DiskProbe() {
    for (const char* suffix : {"", ".renamed", ".linked", ".small"}) ::unlink((file_.string() + suffix).c_str());
  }
  DiskProbe(const DiskProbe&) = delete;
  DiskProbe& operator=(const DiskProbe&) = delete;

  void look() {
    if (!try_out("write", [&] { write(); })) return;
    try_out("read", [&] { read(); });
    try_out("sync", [&] { sync(); });
    try_out("allocate", [&] { allocate(); });
    try_out("lock", [&] { lock(); });
    try_out("rename", [&] { rename_durably(file_, file_.string() + ".renamed"); });
  }

 private:
  bool try_out(const char* what, const std::function<void()>& work) {
    const Outcome done = attempt(work);
    if (!done.ok) facts_.problems[what] = done.message;
    return done.ok;
  }
  void write() {
    const std::vector<char> block(static_cast<size_t>(block_bytes_), 'r');
    File file = File::create(file_);
    facts_.write_megabytes = rate_of(
        most_bytes_, block_bytes_, [&](int64_t offset) { file.write(block.data(), block_bytes_, offset); },
        [&] { file.sync(); });
  }
  void read() {
    std::vector<char> block(static_cast<size_t>(block_bytes_));
    const File file = File::open(file_);
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);  // from the disk, as far as that can be asked for
    facts_.read_megabytes = rate_of(
        file.bytes(), block_bytes_, [&](int64_t offset) { file.read(block.data(), block_bytes_, offset); }, [] {});
  }
  void sync() {
    const auto begin = SteadyClock::now();
    write_new_file(file_.string() + ".small", std::string(4096, 'r'));
    facts_.sync_seconds = seconds_since(begin);
  }
  void allocate() {
    const int descriptor = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
    const File file(descriptor, file_);
    if (::fallocate(descriptor, 0, 0, most_bytes_ + block_bytes_) == 0) return;
    facts_.allocates = errno != EOPNOTSUPP && errno != ENOSYS;
    if (facts_.allocates) throw_errno(ErrorKind::kIo, "allocate", file_, errno);
  }
  /// A run's lock is a second name of a file; others use the kernel's.
  void lock() {
    if (::link(file_.c_str(), (file_.string() + ".linked").c_str()) != 0)
      throw_errno(ErrorKind::kIo, "give a second name to", file_, errno);
    const File file = File::open(file_);
    if (::flock(file.descriptor(), LOCK_SH | LOCK_NB) != 0) throw_errno(ErrorKind::kIo, "lock", file_, errno);
  }

  Path file_;
  int64_t most_bytes_, block_bytes_;
  DiskFacts& facts_;
};

}  // namespace

Path make_probe_folder(const Path& run_directory) {
  Path folder = std::filesystem::weakly_canonical(run_directory);
  while (folder.has_relative_path() && !std::filesystem::is_directory(folder)) folder = folder.parent_path();
  folder /= ".retain-doctor-" + make_nonce();
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat("create ", folder.string(), ": ", error.message()));
  return folder;
}

DiskFacts probe_disk(const Path& folder, int rank, int ranks) {
  DiskFacts facts;
  facts.path = folder.parent_path().string();
  facts.file_system = file_system_of(folder);
  if (!std::filesystem::is_directory(folder)) {
    facts.problems["share"] = "a folder that rank 0 made is not there";
    return facts;
  }
  DiskProbe(folder, rank, ranks, facts).look();
  return facts;
}

double probe_data(const Path& tokens) {
  const File file = File::open_input(tokens);
  std::vector<char> block(static_cast<size_t>(kBlockBytes));
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  const auto begin = SteadyClock::now();
  int64_t bytes = 0;
  while (bytes < std::min(file.bytes(), kMostBytes) && seconds_since(begin) < kMostSeconds) {
    const int64_t next = std::min(kBlockBytes, file.bytes() - bytes);
    file.read(block.data(), next, bytes);
    bytes += next;
  }
  return static_cast<double>(bytes) * 1e-6 / std::max(seconds_since(begin), 1e-9);
}

namespace {

struct Need {
  const char *what, *text, *fix;
};
// What a run does on its disk, and cannot do without.
constexpr std::array kNeeds = {
    Need{"share", "not the directory that rank 0 sees", "put run.dir on a file system that all machines share"},
    Need{"write", "cannot be written", "choose another run.dir, free space, or ask for rights there"},
    Need{"read", "what was written cannot be read", "choose another run.dir; the disk may be failing"},
    Need{"sync", "what is written cannot be made durable (fsync)", "choose another run.dir"},
    Need{"allocate", "space cannot be taken beforehand", "free space, or choose another run.dir"},
    Need{"lock", "locks and second names of files do not work", "mount it with locks, or choose another run.dir"},
    Need{"rename", "files cannot be renamed", "choose another run.dir: a checkpoint is committed by a rename"},
};

ByRank<double> summed_by_machine(const ByRank<DiskFacts>& ranks, const Hosts& hosts, double DiskFacts::*rate) {
  ByRank<double> sums;  // by the machine's first rank
  for (const auto& [host, neighbours] : hosts.machines()) {
    for (const int rank : neighbours) {
      if (ranks.contains(rank)) sums[neighbours.front()] += ranks.at(rank).*rate;
    }
  }
  return sums;
}

Findings judge_rates(const ByRank<DiskFacts>& ranks, const Hosts& hosts) {
  Check write(kGroup, "write"), read(kGroup, "read"), sync(kGroup, "fsync"), data(kGroup, "data");
  const ByRank<double> writes = summed_by_machine(ranks, hosts, &DiskFacts::write_megabytes);
  const ByRank<double> reads = summed_by_machine(ranks, hosts, &DiskFacts::read_megabytes);
  for (const auto& [rank, rate] : writes)
    if (rate < kSlowWrite)
      write.amiss(rank, Verdict::kWarn, "slow for checkpoints", "choose a faster disk for run.dir, or save less often",
                  rate, "MB/s of its machine");
  for (const auto& [rank, rate] : reads)
    if (rate < kSlowRead)
      read.amiss(rank, Verdict::kWarn, "slow for a resume", "choose a faster disk for run.dir", rate,
                 "MB/s of its machine");
  ByRank<double> syncs, datas;
  for (const auto& [rank, disk] : ranks) {
    syncs[rank] = disk.sync_seconds * 1e3;
    if (disk.sync_seconds > kSlowSync)
      sync.amiss(rank, Verdict::kWarn, "slow", "the disk is busy, or does not do well with small files",
                 disk.sync_seconds, "s for 4 KiB");
    if (!disk.data_megabytes) continue;
    datas[rank] = *disk.data_megabytes;
    if (*disk.data_megabytes < kSlowData)
      data.amiss(rank, Verdict::kWarn, "slow for training", "copy the data to a faster disk", *disk.data_megabytes,
                 "MB/s");
  }
  Findings findings = write.findings(hosts, describe_range(writes, "MB/s a machine, fsync included"));
  append(findings, read.findings(hosts, describe_range(reads, "MB/s a machine")));
  append(findings, sync.findings(hosts, describe_range(syncs, "ms for 4 KiB")));
  if (!datas.empty()) append(findings, data.findings(hosts, describe_range(datas, "MB/s a rank")));
  return findings;
}

}  // namespace

Findings judge_disk(const ByRank<DiskFacts>& ranks, const Hosts& hosts) {
  Check use(kGroup, "use"), allocate(kGroup, "fallocate");
  ByRank<std::string> places;
  for (const auto& [rank, disk] : ranks) {
    places[rank] = fmt::format("{} ({})", disk.path, disk.file_system);
    for (const Need& need : kNeeds) {
      const auto problem = disk.problems.find(need.what);
      if (problem != disk.problems.end())
        use.amiss(rank, Verdict::kFail, fmt::format("{}: {}: {}", disk.path, need.text, problem->second), need.fix);
    }
    if (!disk.allocates)
      allocate.amiss(rank, Verdict::kWarn, "not there: a full disk shows only while a checkpoint is written",
                     "keep an eye on the free space, or choose another file system");
  }
  Findings findings = use.findings(hosts, describe_values(places, hosts) + ": write, read, lock, rename work");
  append(findings, allocate.findings(hosts, "works"));
  if (findings.front().verdict == Verdict::kPass) append(findings, judge_rates(ranks, hosts));
  return findings;
}

Finding judge_room(const DiskPlan& plan, const Retention& retention) {
  const std::string free = plan.free_bytes ? disk_size(*plan.free_bytes) + " free" : "nobody knows how much is free";
  const std::string warning = plan.warning(retention);
  if (warning.empty())
    return {
        Verdict::kPass, kGroup, "room",
        fmt::format("{}; a checkpoint takes {}, up to {} at once {}, {} at the end {}", free, disk_size(plan.one_bytes),
                    plan.most_count, disk_size(plan.most_bytes), plan.end_count, disk_size(plan.end_bytes))};
  const size_t remedy = warning.rfind(". ");
  return {plan.lacks_at_first ? Verdict::kFail : Verdict::kWarn, kGroup, "room", warning.substr(0, remedy),
          warning.substr(remedy + 2)};
}

}  // namespace retain::checkup
