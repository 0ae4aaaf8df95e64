#include "launch/config/study_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/launch/config/support.h"
#include "trainer/study/cells.h"
#include "trainer/study/plan.h"

namespace retain {
namespace {

using study::RuleKind;
using study::Study;
using test::sources_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Study parse(const std::string& text) {
  ConfigSources sources = sources_of(text);
  sources.files[0].name = "studies/study.yaml";
  return parse_study(sources, [&](const std::string& name, const std::optional<std::string>& inner) {
    ConfigSources base = sources;
    base.files = {{name, inner ? *inner : sources.files[1].text}};
    if (!inner && name != "studies/good.yaml") throw ConfigError(ErrorKind::kMissingInput, "no file " + name);
    return parse_config(base, {}, 0).config;
  });
}

std::string complaint(const std::string& text) {
  try {
    parse(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

constexpr const char* kSmall = R"(study: {dir: studies/s}
base: good.yaml
sizes: [4M]
budgets: [1e15]
)";

TEST(StudyReader, EveryKeyIsReadWithItsUnits) {
  const Study s = parse(R"(
study: {dir: $SCRATCH/s/, count: blocks, seeds: [1, 5], decay_branches: true}
base: good.yaml
sizes:
  - 4M
  - {parameters: 1.3B, name: big}
  - {name: wide, layers: 2, hidden_size: 1Ki, heads: 8, ffn_size: 2Ki}
shapes: {head_dim: 64, width_per_layer: 50, ffn_ratio: 2.5}
ladder: {tokens_per_parameter: [0.5, 20], tokens: [1Mi, 2M]}
budgets: [1e15, {flops: 3e15, sizes: [big, 4M]}]
rules:
  batch_tokens: {rule: power_lines, at: 1B, value: 64Ki, min: 4Ki}
  lr: olmo_ladder
  beta2: 0.95
  warmup_tokens: 2Mi
  weight_decay: {coefficient: 3e-2, exponent_params: -0.1, exponent_tokens: 0.2, max: 0.3}
repeats: [{cell: 4M-x20, seeds: [2, 3]}]
machine: {gpus: 4, jobs_per_gpu: 2, ranks: 2, memory: 79Gi, flops_per_second: 2e14, step_seconds: 0.01,
          rates: [{parameters: 125M, tokens_per_second: 600k}]}
limits: {max_gpu_hours: 8, max_epochs: 4}
)");
  EXPECT_EQ(s.dir, "/scratch/s");
  EXPECT_EQ(s.count, study::Counted::kBlocks);
  EXPECT_THAT(s.seeds, ElementsAre(1u, 5u));
  EXPECT_TRUE(s.decay_branches);
  EXPECT_EQ(s.base.train.batch_tokens, 512);
  ASSERT_EQ(s.sizes.size(), 3u);
  EXPECT_EQ(s.sizes[0].name, "4M");
  EXPECT_EQ(s.sizes[1].parameters, 1'300'000'000);
  EXPECT_EQ(s.sizes[2].ffn_size, 2048);
  EXPECT_EQ(s.shapes.head_dim, 64);
  EXPECT_EQ(s.shapes.ffn_ratio, 2.5);
  EXPECT_THAT(s.tokens_per_parameter, ElementsAre(0.5, 20));
  EXPECT_THAT(s.tokens, ElementsAre(1'048'576, 2'000'000));
  ASSERT_EQ(s.budgets.size(), 2u);
  EXPECT_EQ(s.budgets[1].flops, 3e15);
  EXPECT_THAT(s.budgets[1].sizes, ElementsAre("big", "4M"));
  EXPECT_EQ(s.rules.batch_tokens.kind, RuleKind::kPowerLines);
  EXPECT_EQ(s.rules.batch_tokens.value, 65'536);
  EXPECT_EQ(s.rules.batch_tokens.min, 4096);
  EXPECT_EQ(s.rules.lr.kind, RuleKind::kOlmoLadder);
  EXPECT_EQ(s.rules.beta2.coefficient, 0.95);
  EXPECT_EQ(s.rules.warmup_tokens.coefficient, 2'097'152);
  EXPECT_EQ(s.rules.weight_decay.exponent_tokens, 0.2);
  EXPECT_EQ(s.repeats[0].cell, "4M-x20");
  EXPECT_EQ(s.machine.jobs_per_gpu, 2);
  EXPECT_EQ(s.machine.memory_bytes, 79.0 * (1 << 30));
  EXPECT_EQ(s.machine.rates[0].tokens_per_second, 600'000);
  EXPECT_EQ(s.limits.max_gpu_hours, 8);
}

TEST(StudyReader, WhatIsNotGivenIsADefault) {
  const Study s = parse(kSmall);
  EXPECT_EQ(s.dir, "/base/studies/s");
  EXPECT_EQ(s.count, study::Counted::kNonEmbedding);
  EXPECT_FALSE(s.decay_branches);
  EXPECT_EQ(s.rules.lr.kind, RuleKind::kBase);
  EXPECT_EQ(s.limits.max_gpu_hours, 0);
}

TEST(StudyReader, ABaseThatStandsInTheFileKeepsItsPlaces) {
  const std::string text = R"(study: {dir: s}
base:
  # größe
  model: {layers: 2, vocab_size: 257}
  train: {batch_tokens: 1Ki, micro_batch_tokens: 1Ki, tokns: 5}
sizes: [4M]
budgets: [1e15]
)";
  EXPECT_THAT(complaint(text), HasSubstr("studies/study.yaml:5:55: unknown key 'train.tokns'"));
  EXPECT_THAT(complaint(text), HasSubstr("did you mean 'train.tokens'?"));
  std::string right = text;
  right.replace(right.find("tokns"), 5, "tokens");
  EXPECT_EQ(parse(right).base.train.batch_tokens, 1024);
  EXPECT_EQ(parse("base: {train: {tokens: 7}}\nstudy: {dir: s}\nsizes: [4M]\nbudgets: [1e15]\n").base.train.tokens, 7);
  EXPECT_THAT(complaint("{base: {train: {tokens: 7}}, study: {dir: s}, sizes: [4M], budgets: [1]}"),
              HasSubstr("needs lines of its own"));
}

TEST(StudyReader, EveryProblemIsToldAtOnceWithItsPlace) {
  const std::string all = complaint(R"(study: {dri: x, seeds: [1, 1]}
base: good.yaml
sizes: [4M, 4M, {layers: 2}, {parameters: 4M, layers: 2, name: "a/b"}]
budgets: [{flops: 1e15, sizes: [5M]}, -3]
rules: {lr: olmo_lader, beta2: {rule: sqrt_width}, weight_decay: sqrt_width, batch_tokens: {exponent_tokens: 1}}
limits: {max_gpu_hours: many}
)");
  EXPECT_THAT(all,
              HasSubstr("studies/study.yaml:1:9: study: unknown key 'dri' (legal: dir, count, seeds, decay_branches)"));
  EXPECT_THAT(all, HasSubstr("did you mean 'dir'?"));
  EXPECT_THAT(all, HasSubstr("the same seed twice"));
  EXPECT_THAT(all, HasSubstr("two sizes are called '4M'"));
  EXPECT_THAT(all, HasSubstr("needs parameters, or name, layers and hidden_size"));
  EXPECT_THAT(all, HasSubstr("expected a name of letters"));
  EXPECT_THAT(all, HasSubstr("has parameters and widths"));
  EXPECT_THAT(all, HasSubstr("expected a size (4M), got '5M'"));
  EXPECT_THAT(all, HasSubstr("did you mean 'olmo_ladder'?"));
  EXPECT_THAT(all, HasSubstr("rules: beta2: rule: expected a number, a power law"));
  EXPECT_THAT(
      all, HasSubstr("sqrt_width needs {rule: sqrt_width, at: …, value: …}: the best value, and at which hidden_size"));
  EXPECT_THAT(all, HasSubstr("a power law needs its coefficient"));
  EXPECT_THAT(all, HasSubstr("limits: max_gpu_hours: "));
  EXPECT_THAT(all, HasSubstr("errors; nothing was started."));
}

TEST(StudyReader, WhatIsMissingIsNamed) {
  EXPECT_THAT(complaint("study: {seeds: [1]}\n"), HasSubstr("study.dir is required"));
  EXPECT_THAT(complaint("study: {dir: s}\n"), HasSubstr("base is required"));
  EXPECT_THAT(complaint("study: {dir: s}\nbase: other.yaml\nsizes: [4M]\nbudgets: [1e15]\n"),
              HasSubstr("no file studies/other.yaml"));
  EXPECT_THAT(complaint(""), HasSubstr("is empty"));
}

/// The studies that come with the program, as they are.
Study shipped(const std::string& name) { return load_study(test::source_path("configs/" + name)); }

int64_t count_cells(const std::vector<study::Run>& runs) { return std::ranges::count_if(runs, &study::Run::is_cell); }

TEST(StudyReader, TheDemoHasNineCells) {
  std::vector<std::string> doubts;
  const std::vector<study::Run> runs = study::make_runs(shipped("study_demo.yaml"), doubts);
  EXPECT_EQ(count_cells(runs), 9);
  EXPECT_TRUE(doubts.empty());
}

// What issue and page promise of the study on an H200.
TEST(StudyReader, TheH200StudyIsWideEnough) {
  const Study s = shipped("study_h200.yaml");
  std::vector<std::string> doubts;
  const std::vector<study::Run> runs = study::make_runs(s, doubts);
  const study::Plan plan = study::make_plan(s, runs, {});
  EXPECT_GE(plan.cells(), 30);
  EXPECT_GE(s.budgets.size(), 4u);
  EXPECT_GE(s.budgets.back().flops, 1e17);
  EXPECT_LE(plan.runs.front().parameters.non_embedding, 600'000);
  EXPECT_GE(plan.runs.back().parameters.non_embedding, 60'000'000);
  constexpr int64_t kCorpusBytes = 360'000'000;  // what tests/bench/debian_corpus.py has for training
  for (const study::PlannedRun& run : plan.runs) {
    EXPECT_GE(run.heads, 2);
    EXPECT_LE(run.tokens, 4 * kCorpusBytes) << run.name;
  }
}

}  // namespace
}  // namespace retain
