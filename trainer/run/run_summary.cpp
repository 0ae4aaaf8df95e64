#include "trainer/run/run_summary.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "trainer/run/log.h"

namespace retain {

namespace {

constexpr const char* kErrorEnd = "error";
constexpr size_t kRanksNamed = 8;

std::string name_ranks(const std::vector<size_t>& ranks) {
  std::string names;
  for (size_t i = 0; i < std::min(ranks.size(), kRanksNamed); ++i) names += concat(i == 0 ? "" : ", ", ranks[i]);
  if (ranks.size() > kRanksNamed) names += concat(" and ", ranks.size() - kRanksNamed, " more");
  return concat(ranks.size() == 1 ? "rank " : "ranks ", names);
}

}  // namespace

std::string describe(const RunSummary& summary) {
  std::string text = fmt::format("{} of {} steps, {} tokens; {} steps in {:.1f} s by this start", summary.step,
                                 summary.steps, summary.tokens, summary.steps_of_start, summary.seconds);
  if (summary.best) text += fmt::format("; best loss {:.4f} at step {}", summary.best->loss, summary.best->step);
  if (summary.best_valid)
    text += fmt::format("; best validation loss {:.4f} at step {}", summary.best_valid->loss, summary.best_valid->step);
  return text + (summary.checkpoint.empty() ? "; no checkpoint" : "; newest checkpoint " + summary.checkpoint);
}

void tell_end(Log& log, const RunSummary& summary, const RunEnd& end) {
  std::map<std::string, std::string> values = {{"reason", end.reason},
                                               {"code", std::to_string(end.exit_code)},
                                               {"rank", std::to_string(end.world_rank)},
                                               {"host", end.host},
                                               {"steps", std::to_string(summary.steps)},
                                               {"tokens", std::to_string(summary.tokens)},
                                               {"steps_of_start", std::to_string(summary.steps_of_start)},
                                               {"seconds", fmt::format("{:.3f}", summary.seconds)},
                                               {"checkpoint", summary.checkpoint}};
  const auto add_best = [&](const std::string& name, const std::optional<RunSummary::Best>& best) {
    if (!best) return;
    values[name] = fmt::format("{}", best->loss);
    values[name + "_step"] = std::to_string(best->step);
  };
  add_best("best_loss", summary.best);
  add_best("best_valid_loss", summary.best_valid);
  const std::string line = concat("ended with exit code ", end.exit_code, ": ", end.reason, "; ", describe(summary));
  end.kind == kErrorEnd ? log.record_end(line) : log.info(line);
  log.event(summary.step, end.kind, values);
}

std::string describe_requests(const std::vector<std::string>& by_rank) {
  std::vector<std::pair<std::string, std::vector<size_t>>> requests;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    if (by_rank[rank].empty()) continue;
    const auto same = [&](const auto& request) { return request.first == by_rank[rank]; };
    auto known = std::find_if(requests.begin(), requests.end(), same);
    if (known == requests.end()) known = requests.insert(requests.end(), {by_rank[rank], {}});
    known->second.push_back(rank);
  }
  std::string text;
  for (const auto& [request, ranks] : requests) {
    text += (text.empty() ? "" : "; ") + request;
    if (by_rank.size() > 1) text += concat(" (", name_ranks(ranks), ")");
  }
  return text;
}

}  // namespace retain
