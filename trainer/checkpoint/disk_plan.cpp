#include "trainer/checkpoint/disk_plan.h"

#include <fmt/core.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "trainer/checkpoint/store.h"

namespace retain {

namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

int64_t sum(int64_t a, int64_t b) {
  int64_t both = 0;
  return __builtin_add_overflow(a, b, &both) ? kMost : both;
}

int64_t product(int64_t a, int64_t b) {
  int64_t both = 0;
  return __builtin_mul_overflow(a, b, &both) ? kMost : both;
}

struct Kept {
  int64_t count = 0, bytes = 0;
  void add(int64_t more, int64_t more_bytes) {
    count = sum(count, more);
    bytes = sum(bytes, more_bytes);
  }
};

class Course {
 public:
  Course(const Retention& retention, const SavesToCome& saves, int64_t one_bytes, const CheckpointsOnDisk& now)
      : retention_(retention), saves_(saves), one_bytes_(one_bytes), now_(now) {}

  /// What there is after retention has run over the first `saves` saves and what was there, keeping `keep` of the
  /// newest, and what was set aside.
  Kept after(int64_t saves, int64_t keep) const {
    const int64_t recent = std::min(saves, keep), older = saves - recent;
    const int64_t forever = saves_.multiples(older, retention_.keep_every);
    int64_t superseded = older - forever;  // of which the best are kept
    Kept kept;
    kept.add(recent + forever, product(recent + forever, one_bytes_));
    int64_t oldest_kept = recent == keep ? saves_.step(saves - recent + 1) : -1;
    for (size_t i = 0; i < now_.steps.size(); ++i) {
      const StepOnDisk& step = now_.steps[i];
      const bool newest = static_cast<int64_t>(i) < keep - recent;
      if (newest && static_cast<int64_t>(i) + 1 == keep - recent) oldest_kept = step.step;
      if (newest || (retention_.keep_every > 0 && step.step % retention_.keep_every == 0))
        kept.add(1, step.bytes);
      else
        ++superseded;
    }
    const int64_t best = std::min<int64_t>(retention_.keep_best, superseded);
    kept.add(best, product(best, one_bytes_));
    for (const StepOnDisk& aside : now_.set_aside)
      if (aside.step > oldest_kept) kept.bytes = sum(kept.bytes, aside.bytes);
    return kept;
  }

  Kept now() const {
    Kept kept;
    for (const StepOnDisk& step : now_.steps) kept.add(1, step.bytes);
    for (const StepOnDisk& aside : now_.set_aside) kept.bytes = sum(kept.bytes, aside.bytes);
    return kept;
  }

 private:
  const Retention& retention_;
  const SavesToCome& saves_;
  int64_t one_bytes_;
  const CheckpointsOnDisk& now_;
};

/// The saves after `settled` before which something that was set aside goes, less one each, and the last: in order.
std::vector<int64_t> rises(const CheckpointsOnDisk& now, const SavesToCome& saves, int64_t settled, int64_t keep) {
  const int64_t count = saves.count();
  std::vector<int64_t> ends;
  for (const StepOnDisk& aside : now.set_aside) {
    int64_t before = 0, from = count;  // the first save of that step or a later one
    while (from - before > 1) {
      const int64_t between = before + (from - before) / 2;
      (saves.step(between) < aside.step ? before : from) = between;
    }
    const int64_t end = sum(from, keep - 1);
    if (end > settled && end < count) ends.push_back(end);
  }
  if (count > settled) ends.push_back(count);
  std::sort(ends.begin(), ends.end());
  return ends;
}

}  // namespace

std::string disk_size(int64_t bytes) {
  const auto size = static_cast<double>(bytes);
  return size < 1e9 ? fmt::format("{:.2f} MB", size * 1e-6) : fmt::format("{:.2f} GB", size * 1e-9);
}

int64_t SavesToCome::count() const {
  if (last <= done) return 0;
  if (every == 0) return 1;
  return last / every - done / every + (last % every == 0 ? 0 : 1);
}

int64_t SavesToCome::step(int64_t save) const {
  return every == 0 || save >= count() ? last : (done / every + save) * every;
}

int64_t SavesToCome::multiples(int64_t saves, int64_t multiple) const {
  if (saves == 0 || multiple == 0) return 0;
  const bool ends = saves == count();
  const int64_t of_last = ends && last % multiple == 0 ? 1 : 0;
  if (every == 0) return of_last;
  // Of those before the last one, which alone may be no multiple of `every`.
  const int64_t until = ends ? last - 1 : step(saves);
  int64_t both = 0;
  if (__builtin_mul_overflow(every / std::gcd(every, multiple), multiple, &both)) return of_last;
  return until / both - done / both + of_last;
}

std::string DiskPlan::warning(const Retention& retention) const {
  if (!lacks_at || !free_bytes) return "";
  return concat("the checkpoint of step ", *lacks_at, " will not fit: ", disk_size(lacking_bytes),
                " are lacking then. ", "A checkpoint takes ", disk_size(one_bytes), ", up to ", most_count,
                " are there at once (checkpoint.keep: ", retention.keep,
                retention.keep_every > 0 ? concat(", keep_every: ", retention.keep_every) : "",
                retention.keep_best > 0 ? concat(", keep_best: ", retention.keep_best) : "",
                ", and one that is being written), and ", disk_size(*free_bytes),
                " are free now. Keep fewer, free some, or put run.dir on another disk");
}

DiskPlan plan_disk(const Retention& retention, bool frees_first, const SavesToCome& saves, int64_t one_bytes,
                   const CheckpointsOnDisk& found) {
  // A run that goes on from an older step sets the newer ones aside.
  CheckpointsOnDisk now = found;
  const auto is_newer = [&](const StepOnDisk& step) { return step.step > saves.done; };
  std::copy_if(found.steps.begin(), found.steps.end(), std::back_inserter(now.set_aside), is_newer);
  std::erase_if(now.steps, is_newer);
  const Course course(retention, saves, one_bytes, now);
  const int64_t count = saves.count();
  // While save k is written: what the save before it left, or this one has left.
  const auto during = [&](int64_t k) {
    Kept kept = frees_first ? course.after(k - 1, std::max(1, retention.keep - 1))
                : k == 1    ? course.now()
                            : course.after(k - 1, retention.keep);
    kept.add(1, one_bytes);
    return kept;
  };
  DiskPlan plan;
  plan.one_bytes = one_bytes;
  plan.free_bytes = now.free_bytes;
  const Kept end = count > 0 ? course.after(count, retention.keep) : course.now();
  plan.end_count = end.count;
  plan.end_bytes = end.bytes;
  const int64_t there = course.now().bytes;
  const auto lacking = [&](int64_t k) { return now.free_bytes ? during(k).bytes - there - *now.free_bytes : 0; };
  const auto look = [&](int64_t k) {
    const Kept kept = during(k);
    plan.most_count = std::max(plan.most_count, kept.count);
    plan.most_bytes = std::max(plan.most_bytes, kept.bytes);
    if (plan.lacks_at || lacking(k) <= 0) return;
    plan.lacks_at = saves.step(k);
    plan.lacking_bytes = lacking(k);
    plan.lacks_at_first = k == 1;
  };
  // Until the newest are all new ones, older ones go; from then on there are never fewer than before, but where what
  // was set aside goes.
  const int64_t settled = std::min(count, int64_t{retention.keep} + 1);
  for (int64_t k = 1; k <= settled; ++k) look(k);
  int64_t fits = settled;
  for (const int64_t end_of_rise :
       rises(now, saves, settled, frees_first ? std::max(1, retention.keep - 1) : retention.keep)) {
    if (!plan.lacks_at && lacking(end_of_rise) > 0) {
      int64_t lacks = end_of_rise;
      while (lacks - fits > 1) {
        const int64_t between = fits + (lacks - fits) / 2;
        (lacking(between) > 0 ? lacks : fits) = between;
      }
      look(lacks);
    }
    look(end_of_rise);
    fits = end_of_rise;
  }
  return plan;
}

namespace {

int64_t bytes_in(const Path& folder) {
  int64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const auto size = entry.is_regular_file(error) ? entry.file_size(error) : 0;
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace

std::optional<int64_t> free_disk_bytes(const Path& path) {
  std::error_code error;
  Path folder = std::filesystem::weakly_canonical(path, error);
  if (error) return std::nullopt;
  while (folder.has_relative_path() && !std::filesystem::is_directory(folder, error)) folder = folder.parent_path();
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return std::nullopt;
  return product(static_cast<int64_t>(disk.f_bavail), static_cast<int64_t>(disk.f_frsize));
}

CheckpointsOnDisk look_at_checkpoints(const Path& run_directory) {
  const Path checkpoints = checkpoints_directory(run_directory);
  CheckpointsOnDisk found;
  for (const StepEntry& entry : list_steps(checkpoints)) found.steps.push_back({entry.step, bytes_in(entry.path)});
  for (const SetAsideStep& aside : list_set_aside(checkpoints))
    found.set_aside.push_back({aside.step, bytes_in(aside.path)});
  found.free_bytes = free_disk_bytes(run_directory);
  return found;
}

}  // namespace retain
