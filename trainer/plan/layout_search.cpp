#include "trainer/plan/layout_search.h"

#include <algorithm>
#include <optional>
#include <tuple>

namespace retain {

namespace {

std::vector<int> divisors(int number) {
  std::vector<int> found;
  for (int each = 1; each <= number; ++each)
    if (number % each == 0) found.push_back(each);
  return found;
}

/// What is wrong with it, or "".
std::string problem_with(const Config& config, int ranks) {
  const std::vector<ConfigProblem> problems = validate(config, ranks);
  return problems.empty() ? "" : problems.front().key + ": " + problems.front().message;
}

class Search {
 public:
  Search(const Config& config, const SearchSpace& space, const Target& target, const Gpu& gpu)
      : config_(config),
        space_(space),
        target_(target),
        gpu_(gpu),
        machine_of_(machines_of(space.gpus, space.gpus_a_machine)) {}

  LayoutSearch run() {
    for (const int tp : divisors(space_.gpus))
      for (const int cp : divisors(space_.gpus / tp)) look_at_mesh(tp, cp);
    if (result_.legal == 0) throw ConfigError(ErrorKind::kConfig, concat("no layout is legal; ", first_problem_));
    std::ranges::stable_sort(result_.choices, {}, [](const LayoutChoice& choice) {
      return std::tuple(-choice.cost.tokens_per_second, choice.needed_bytes);
    });
    return std::move(result_);
  }

 private:
  void look_at_mesh(int tp, int cp) {
    const bool replicas = space_.gpus / tp > 1;
    for (const Recompute level : kRecomputeLevels) {
      for (const int zero : replicas ? std::vector{1, 2} : std::vector{config_.parallel.zero}) {
        Config changed = config_;
        changed.parallel.tp = tp;
        changed.parallel.cp = cp;
        changed.parallel.dp = 0;
        changed.parallel.zero = zero;
        changed.train.recompute = level;
        if (level != Recompute::kSegment) changed.train.segment_tokens = 0;
        take_best(std::move(changed));
      }
    }
  }

  void take_best(Config config) {
    std::optional<LayoutChoice> best;
    const int64_t sequence = config.data.seq_len;
    for (int64_t micro = sequence; micro <= config.train.batch_tokens; micro *= 2) {
      config.train.micro_batch_tokens = micro;
      if (const std::string problem = problem_with(config, space_.gpus); !problem.empty()) {
        if (first_problem_.empty()) first_problem_ = problem;
        continue;
      }
      const RunPlan planned = make_plan(config, space_.gpus, target_);
      // Where one segment is the whole sequence it is the level `none`, which is looked at.
      if (config.train.recompute == Recompute::kSegment && planned.shape.segment_count == 1) continue;
      LayoutChoice choice = rated(config, planned);
      if (result_.legal++ == 0 || choice.needed_bytes < result_.smallest.needed_bytes) result_.smallest = choice;
      if (choice.needed_bytes > target_.memory_bytes) break;  // and so will larger ones
      ++result_.fitting;
      if (!best || choice.cost.tokens_per_second > best->cost.tokens_per_second) best = std::move(choice);
    }
    if (best) result_.choices.push_back(*std::move(best));
  }

  LayoutChoice rated(const Config& config, const RunPlan& plan) const {
    const RankExchanges exchanges = busiest_exchanges(plan.traffic, plan.mesh, plan.dealing, machine_of_, true);
    const StepTime time = predict_step(config, plan, exchanges, gpu_, space_.network_bytes_per_second);
    return {.config = config,
            .mesh = plan.mesh,
            .needed_bytes = plan.needed_bytes(),
            .cost = cost_of(config, plan, gpu_, time.seconds())};
  }

  const Config& config_;
  const SearchSpace& space_;
  const Target& target_;
  const Gpu& gpu_;
  const std::vector<int> machine_of_;
  LayoutSearch result_;
  std::string first_problem_;
};

}  // namespace

LayoutSearch search_layouts(const Config& config, const SearchSpace& space, const Target& target, const Gpu& gpu) {
  return Search(config, space, target, gpu).run();
}

std::string changes_of(const LayoutChoice& choice, const Config& config) {
  std::string text;
  const auto add = [&text](const std::string& key, const auto& chosen, const auto& given) {
    if (chosen != given) text += concat(text.empty() ? "" : " ", "--set ", key, "=", chosen);
  };
  const Config& chosen = choice.config;
  add("parallel.tp", chosen.parallel.tp, config.parallel.tp);
  add("parallel.cp", chosen.parallel.cp, config.parallel.cp);
  if (config.parallel.dp != 0) add("parallel.dp", choice.mesh.dp, config.parallel.dp);
  add("parallel.zero", chosen.parallel.zero, config.parallel.zero);
  add("train.recompute", std::string(recompute_name(chosen.train.recompute)),
      std::string(recompute_name(config.train.recompute)));
  if (config.train.segment_tokens != chosen.train.segment_tokens) text += " --set train.segment_tokens=auto";
  add("train.micro_batch_tokens", chosen.train.micro_batch_tokens, config.train.micro_batch_tokens);
  return text;
}

}  // namespace retain
