#include "trainer/study/cells.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "trainer/model/parameter_layout.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/study/shapes.h"

namespace retain::study {
namespace {

constexpr size_t kMostRuns = 10'000;
constexpr size_t kMostTold = 20;

/// A cell before it has a seed.
struct Point {
  std::string name;   // "4M-x20"
  double tokens = 0;  // asked for
};

struct Shape {
  std::string size;
  ModelConfig model;
  std::vector<Point> points;
};

class Problems {
 public:
  void add(const std::string& text) {
    if (std::ranges::find(all_, text) == all_.end()) all_.push_back(text);
  }
  void throw_if_any() const {
    if (all_.empty()) return;
    std::string text;
    for (size_t i = 0; i < std::min(all_.size(), kMostTold); ++i) text += all_[i] + "\n";
    if (all_.size() > kMostTold) text += fmt::format("… and {} more\n", all_.size() - kMostTold);
    throw ConfigError(ErrorKind::kConfig, text + fmt::format("{} {}; nothing was started.", all_.size(),
                                                             all_.size() == 1 ? "error" : "errors"));
  }

 private:
  std::vector<std::string> all_;
};

std::vector<Point> points_of(const Size& size, const ModelConfig& model, const Study& study) {
  std::vector<Point> points;
  const auto params = static_cast<double>(count(model).of(study.count));
  for (const double ratio : study.tokens_per_parameter)
    points.push_back({size.name + "-x" + plain_number(ratio), ratio * params});
  for (const double tokens : study.tokens) points.push_back({size.name + "-d" + short_number(tokens), tokens});
  for (const Budget& budget : study.budgets) {
    const bool belongs = budget.sizes.empty() || std::ranges::find(budget.sizes, size.name) != budget.sizes.end();
    if (belongs)
      points.push_back({size.name + "-c" + plain_number(budget.flops), budget.flops / flops_per_token(model)});
  }
  std::ranges::stable_sort(points, {}, &Point::tokens);
  return points;
}

std::vector<Shape> shapes_of(const Study& study, Problems& problems) {
  std::vector<Shape> shapes;
  for (const Size& size : study.sizes) {
    const Outcome made = attempt([&] {
      const ModelConfig model = shape_of(size, study);
      for (const ConfigProblem& wrong : validate(model))
        problems.add(fmt::format("size {}: {} {}", size.name, wrong.key, wrong.message));
      shapes.push_back({size.name, model, {}});
    });
    if (!made.ok) problems.add(made.message);
  }
  problems.throw_if_any();
  for (size_t i = 0; i < shapes.size(); ++i) shapes[i].points = points_of(study.sizes[i], shapes[i].model, study);
  return shapes;
}

/// The seeds of every point, in the order of the points.
std::map<std::string, std::vector<uint64_t>> seeds_of(const std::vector<Shape>& shapes, const Study& study,
                                                      Problems& problems) {
  std::map<std::string, std::vector<uint64_t>> seeds;
  std::string names;
  for (const Shape& shape : shapes) {
    for (const Point& point : shape.points) {
      seeds[point.name] = study.seeds;
      names += (names.empty() ? "" : ", ") + point.name;
    }
  }
  for (const Repeat& repeat : study.repeats) {
    const auto found = seeds.find(repeat.cell);
    if (found == seeds.end()) {
      problems.add(fmt::format("repeats: '{}' is no cell of this study (cells: {})", repeat.cell, names));
      continue;
    }
    for (const uint64_t seed : repeat.seeds)
      if (std::ranges::find(found->second, seed) == found->second.end()) found->second.push_back(seed);
  }
  return seeds;
}

/// The configuration of this size with what the rules give for so many tokens.
Config config_of(const Shape& shape, double tokens, const Study& study) {
  Config config = study.base;
  config.model = shape.model;
  const RuleInput input{.params = static_cast<double>(count(shape.model).of(study.count)),
                        .tokens = tokens,
                        .hidden_size = shape.model.hidden_size};
  // Of a layout that is not legal validate() says why.
  const int inner = config.parallel.cp * config.parallel.tp;
  const int dp = std::max(1, config.parallel.dp > 0 ? config.parallel.dp : study.machine.ranks / inner);
  const Hyperparameters h = hyperparameters(study.rules, input, study.base, dp);
  config.train.batch_tokens = h.batch_tokens;
  config.train.micro_batch_tokens = h.micro_batch_tokens;
  config.optimizer.lr = h.lr;
  config.optimizer.beta2 = h.beta2;
  config.optimizer.weight_decay = h.weight_decay;
  config.schedule.warmup_steps = h.warmup_steps;
  return config;
}

int64_t steps_for(double tokens, const Config& config) {
  return std::max<int64_t>(1, std::llround(tokens / static_cast<double>(config.train.batch_tokens)));
}

void set_steps(Config& config, int64_t steps) { config.train.tokens = steps * config.train.batch_tokens; }

class Maker {
 public:
  Maker(const Study& study, Problems& problems) : study_(study), problems_(problems) {}

  /// A run from the beginning for each point.
  void add_whole(const Shape& shape, const Point& point, uint64_t seed) {
    Config config = config_of(shape, point.tokens, study_);
    set_steps(config, steps_for(point.tokens, config));
    if (config.schedule.warmup_steps >= config.steps())
      refuse_warmup(config.schedule.warmup_steps, point.name, "has", config.steps());
    add({.name = fmt::format("{}-s{}", point.name, seed), .size = shape.size, .config = config}, seed);
  }

  /// A trunk and its branches, to the points that have this seed.
  void add_tree(const Shape& shape, const std::vector<Point>& points, uint64_t seed) {
    const Config common = config_of(shape, shape.points.back().tokens, study_);
    std::string leg;
    int64_t trunk_steps = 0;
    for (const Point& point : points) {
      Config config = common;
      set_steps(config, steps_for(point.tokens, common));
      const int64_t begin = config.steps() - wsd_decay_steps(config.schedule, config.steps());
      if (begin < 1 || begin < config.schedule.warmup_steps) {
        refuse_warmup(config.schedule.warmup_steps, point.name, "decays after", begin);
        continue;
      }
      if (begin > trunk_steps) {
        leg = add_leg(common, shape.size, leg, trunk_steps, begin, seed);
        trunk_steps = begin;
      }
      add({.name = fmt::format("{}-s{}", point.name, seed),
           .size = shape.size,
           .parent = leg,
           .first_step = begin,
           .config = config},
          seed);
    }
  }

  std::vector<Run> take() { return std::move(runs_); }

 private:
  std::string add_leg(const Config& common, const std::string& size, const std::string& parent, int64_t first,
                      int64_t last, uint64_t seed) {
    Run leg{.name = fmt::format("{}-s{}-leg{}", size, seed, last),
            .is_cell = false,
            .size = size,
            .parent = parent,
            .first_step = first,
            .config = common};
    set_steps(leg.config, last);
    leg.config.schedule.kind = ScheduleKind::kConstant;
    leg.config.data.valid.clear();  // a loss of an undecayed rate is no point of the law
    leg.config.checkpoint.keep_best = 0;
    const std::string name = leg.name;
    add(std::move(leg), seed);
    return name;
  }

  void add(Run run, uint64_t seed) {
    run.config.run = {.dir = study_.dir + "/cells/" + run.name, .seed = seed};
    for (const ConfigProblem& wrong : validate(run.config, study_.machine.ranks))
      problems_.add(fmt::format("size {}: {} {}", run.size, wrong.key, wrong.message));
    runs_.push_back(std::move(run));
    if (runs_.size() > kMostRuns)
      throw ConfigError(ErrorKind::kConfig, fmt::format("the study has more than {} runs", kMostRuns));
  }

  void refuse_warmup(int64_t warmup, const std::string& point, const char* relation, int64_t steps) {
    problems_.add(
        fmt::format("{}: the warm-up takes {} steps, and the cell {} {}: bound rules.warmup_tokens (max), "
                    "or give the cell more tokens or a smaller batch",
                    point, warmup, relation, steps));
  }

  const Study& study_;
  Problems& problems_;
  std::vector<Run> runs_;
};

void check(const Study& study, Problems& problems) {
  const ScheduleKind kind = study.base.schedule.kind;
  if (study.sizes.empty()) problems.add("sizes: a study needs sizes, such as [{parameters: 4M}, {parameters: 16M}]");
  if (study.tokens_per_parameter.empty() && study.tokens.empty() && study.budgets.empty())
    problems.add("a study needs budgets (FLOPs) or a ladder (tokens, or tokens_per_parameter)");
  if (study.base.data.valid.empty()) problems.add("base: data.valid is required: its loss is what a cell is for");
  if (study.base.train.micro_batch_tokens < 1) problems.add("base: train.micro_batch_tokens is required");
  if (study.rules.batch_tokens.kind == RuleKind::kBase && study.base.train.batch_tokens < 1)
    problems.add("base: train.batch_tokens is required, unless rules.batch_tokens says it");
  if (kind == ScheduleKind::kConstant)
    problems.add(
        "base: schedule.kind = constant never decays, and a point of a law is a run whose rate has decayed "
        "(legal: cosine, linear, wsd)");
  if (study.decay_branches && kind != ScheduleKind::kWsd)
    problems.add(
        "study.decay_branches needs schedule.kind: wsd in the base: other schedules depend on the tokens "
        "from the start");
  problems.throw_if_any();
}

/// Two cells of one size with the same steps are one cell with two names.
void refuse_twins(const std::vector<Run>& runs, Problems& problems) {
  std::map<std::tuple<std::string, int64_t, uint64_t>, std::string> seen;
  for (const Run& run : runs) {
    if (!run.is_cell) continue;
    const auto [first, fresh] =
        seen.emplace(std::tuple(run.size, run.config.train.tokens, run.config.run.seed), run.name);
    if (!fresh)
      problems.add(fmt::format("{} and {} are the same cell: {} steps of {} tokens", first->second, run.name,
                               run.config.steps(), run.config.train.batch_tokens));
  }
}

}  // namespace

std::vector<Run> make_runs(const Study& study, std::vector<std::string>& doubts) {
  Problems problems;
  check(study, problems);
  const std::vector<Shape> shapes = shapes_of(study, problems);
  const auto seeds = seeds_of(shapes, study, problems);
  problems.throw_if_any();
  Maker maker(study, problems);
  for (const Shape& shape : shapes) {
    std::set<uint64_t> all;
    for (const Point& point : shape.points) all.insert(seeds.at(point.name).begin(), seeds.at(point.name).end());
    for (const uint64_t seed : all) {
      std::vector<Point> points;
      std::ranges::copy_if(shape.points, std::back_inserter(points), [&](const Point& point) {
        return std::ranges::find(seeds.at(point.name), seed) != seeds.at(point.name).end();
      });
      if (study.decay_branches) maker.add_tree(shape, points, seed);
      if (!study.decay_branches)
        for (const Point& point : points) maker.add_whole(shape, point, seed);
    }
  }
  std::vector<Run> runs = maker.take();
  refuse_twins(runs, problems);
  problems.throw_if_any();
  if (study.decay_branches && depends_on_tokens(study.rules))
    doubts.push_back(
        "a rule depends on tokens, and the cells of a size share a trunk: each size takes what the rule gives "
        "for its most tokens (study.decay_branches: false lets each cell have its own)");
  return runs;
}

}  // namespace retain::study
