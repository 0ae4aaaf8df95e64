#include "trainer/checkpoint/retention.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

namespace retain {

namespace {

// The round meets a step that cannot be judged, and ends.
struct Unknown {
  std::string reason;
};

// The steps with the lowest losses that are whole. Steps of equal loss: the newest.
template <class Judge>
std::set<int64_t> best_steps(int count, const std::vector<int64_t>& newest_first, const Judge& judge) {
  std::vector<std::pair<double, int64_t>> by_loss;
  for (const int64_t step : newest_first) {
    const StepVerdict verdict = judge(step, Depth::kManifest);
    if (std::isfinite(verdict.valid_loss)) by_loss.emplace_back(verdict.valid_loss, step);
  }
  std::stable_sort(by_loss.begin(), by_loss.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::set<int64_t> best;
  for (const auto& [loss, step] : by_loss) {
    if (best.size() == static_cast<size_t>(count)) break;
    if (judge(step, Depth::kFiles).condition == StepCondition::kWhole) best.insert(step);
  }
  return best;
}

}  // namespace

Retention Retention::while_saving() const {
  Retention retention = *this;
  retention.keep = std::max(1, keep - 1);
  return retention;
}

RetentionRound plan_retention(const Retention& retention, const std::vector<int64_t>& newest_first,
                              const JudgeStep& judge) {
  const auto known = [&](int64_t step, Depth depth) {
    const StepVerdict verdict = judge(step, depth);
    if (verdict.condition == StepCondition::kUnknown) throw Unknown{verdict.reason};
    return verdict;
  };
  RetentionRound plan;
  if (std::ssize(newest_first) < retention.keep) return plan;
  try {
    int whole = 0;
    auto next = newest_first.begin();
    for (; next != newest_first.end() && whole < retention.keep; ++next) {
      whole += known(*next, Depth::kFiles).condition == StepCondition::kWhole ? 1 : 0;
    }
    if (whole < retention.keep) return plan;
    const auto for_ever = [&](int64_t step) { return retention.keep_every > 0 && step % retention.keep_every == 0; };
    std::vector<int64_t> older;
    std::copy_if(next, newest_first.end(), std::back_inserter(older), [&](int64_t step) { return !for_ever(step); });
    if (!older.empty() && retention.keep_best > 0) {
      const std::set<int64_t> best = best_steps(retention.keep_best, newest_first, known);
      std::erase_if(older, [&](int64_t step) { return best.contains(step); });
    }
    plan.deleted = std::move(older);
    plan.oldest_kept = *std::prev(next);
    plan.reason = concat(retention.keep, retention.keep == 1 ? " newer step is" : " newer steps are", " whole");
    if (retention.keep_best > 0) plan.reason += concat(" and ", retention.keep_best, " of lower validation loss kept");
  } catch (const Unknown& unknown) {
    plan.unknown = unknown.reason;
  }
  return plan;
}

std::optional<StepJudge::Stamp> StepJudge::stamp_of(const Path& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) return std::nullopt;
  return Stamp{.inode = info.st_ino, .seconds = info.st_mtim.tv_sec, .nanoseconds = info.st_mtim.tv_nsec};
}

StepVerdict StepJudge::judge(const Path& step_directory, Depth depth) {
  const auto known = whole_.find(step_directory);
  if (depth == Depth::kManifest && known != whole_.end()) return known->second.verdict;
  const std::optional<Stamp> stamp = stamp_of(step_directory);
  if (known != whole_.end() && stamp && known->second.stamp == stamp && known->second.depth == Depth::kFiles)
    return known->second.verdict;
  StepVerdict verdict = judge_step(step_directory, depth);
  if (verdict.condition == StepCondition::kWhole) {
    whole_[step_directory] = {stamp, depth, verdict, false};
  } else {
    forget(step_directory);
  }
  return verdict;
}

void StepJudge::remember(const Path& step_directory, double valid_loss) {
  whole_[step_directory] = {stamp_of(step_directory), Depth::kFiles, {.valid_loss = valid_loss}, true};
}

bool StepJudge::is_verified(const Path& step_directory) const {
  const auto known = whole_.find(step_directory);
  return known != whole_.end() && known->second.verified && known->second.stamp == stamp_of(step_directory);
}

void apply_retention(const Path& checkpoints, const Retention& retention, StepJudge& judge, const LogLine& log) {
  std::vector<int64_t> newest_first;
  for (const StepEntry& entry : list_steps(checkpoints)) newest_first.push_back(entry.step);
  const RetentionRound plan = plan_retention(retention, newest_first, [&](int64_t step, Depth depth) {
    return judge.judge(checkpoints / step_name(step), depth);
  });
  if (!plan.unknown.empty()) {
    throw Error(ErrorKind::kIo,
                concat("older checkpoints are kept, because one could not be looked at: ", plan.unknown));
  }
  const auto give_up = [&](const Path& path, const std::string& reason) {
    judge.forget(path);
    delete_step(path);
    log(concat("deleted ", path.filename().string(), ": ", reason));
  };
  for (const int64_t step : plan.deleted) give_up(checkpoints / step_name(step), plan.reason);
  for (const SetAsideStep& aside : list_set_aside(checkpoints)) {
    if (aside.step <= plan.oldest_kept)
      give_up(aside.path, concat("it was set aside, and ", retention.keep, " steps from there on are whole"));
  }
}

void free_before_save(const Path& checkpoints, const Retention& retention, StepJudge& judge, const LogLine& log) {
  const std::vector<StepEntry> newest_first = list_steps(checkpoints);
  if (!retention.before_save || newest_first.empty() || !judge.is_verified(newest_first.front().path)) return;
  apply_retention(checkpoints, retention.while_saving(), judge, log);
}

}  // namespace retain
