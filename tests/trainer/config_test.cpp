// validate() and Config::mesh() without YAML: what a model from a file or a test may hold, too.
#include "trainer/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "kernels/core/error.h"

namespace retain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Config good() {
  Config c;
  c.model = {.layers = 2, .hidden_size = 64, .heads = 4, .ffn_size = 96, .vocab_size = 257};
  c.data.train = {{"a", 1}};
  c.data.seq_len = 64;
  c.train = {.tokens = 1'000'000, .batch_tokens = 1024, .micro_batch_tokens = 128, .chunk = 0};
  return c;
}

std::vector<std::string> keys(const std::vector<ConfigProblem>& problems) {
  std::vector<std::string> out;
  for (const ConfigProblem& p : problems) out.push_back(p.key);
  return out;
}

std::vector<std::string> keys_after(const std::function<void(Config&)>& change, int ranks = 1) {
  Config c = good();
  change(c);
  return keys(validate(c, ranks));
}

TEST(Validate, AGoodConfigurationHasNoProblem) { EXPECT_THAT(validate(good(), 1), IsEmpty()); }

TEST(Validate, TheEndTokenIsInTheVocabulary) {
  for (const int64_t token : {kEndOfDocumentAuto, kEndOfDocumentNone, int64_t{0}, int64_t{256}})
    EXPECT_THAT(keys_after([&](Config& c) { c.data.end_of_document = token; }), IsEmpty());
  Config c = good();
  c.data.end_of_document = 50256;
  const auto problems = validate(c, 1);
  ASSERT_THAT(keys(problems), ElementsAre("data.end_of_document"));
  EXPECT_THAT(problems[0].message, HasSubstr("50257 or more"));
}

TEST(Validate, SegmentsAreForTheirLevelAndAreCutOverCp) {
  const auto segments_of = [](int64_t tokens, Recompute level, int cp) {
    return keys_after(
        [&](Config& c) {
          c.train.recompute = level;
          c.train.segment_tokens = tokens;
          c.parallel.cp = cp;
        },
        cp);
  };
  EXPECT_THAT(segments_of(0, Recompute::kSegment, 4), IsEmpty());
  EXPECT_THAT(segments_of(20, Recompute::kSegment, 4), IsEmpty());
  EXPECT_THAT(segments_of(1001, Recompute::kSegment, 4), IsEmpty()) << "the whole sequence";
  EXPECT_THAT(segments_of(21, Recompute::kSegment, 4), ElementsAre("train.segment_tokens"));
  EXPECT_THAT(segments_of(20, Recompute::kFull, 1), ElementsAre("train.segment_tokens"));
}

TEST(Validate, ValuesThatItDividesByMustBeWithinTheirBounds) {
  const std::vector<std::function<void(Config&)>> changes = {
      [](Config& c) { c.model.layers = 0; },         [](Config& c) { c.model.heads = 0; },
      [](Config& c) { c.model.hidden_size = -4; },   [](Config& c) { c.data.seq_len = 0; },
      [](Config& c) { c.parallel.cp = 0; },          [](Config& c) { c.parallel.tp = -1; },
      [](Config& c) { c.parallel.dp = -1; },         [](Config& c) { c.model.key_expansion = std::nan(""); },
      [](Config& c) { c.model.value_expansion = 0; }};
  for (const auto& change : changes) EXPECT_THROW(keys_after(change), Error);
  EXPECT_THAT(keys_after([](Config& c) { c.train.batch_tokens = 0; }), ElementsAre("train.batch_tokens"));
  EXPECT_THAT(keys_after([](Config& c) { c.model.ffn_size = 0; }), ElementsAre("model.ffn_size"));
}

TEST(Validate, APrometheusFileHasTheNameThatIsLookedFor) {
  EXPECT_THAT(keys_after([](Config& c) { c.log.prometheus = "/metrics/run.prom"; }), IsEmpty());
  EXPECT_THAT(keys_after([](Config& c) { c.log.prometheus = "/metrics/run.txt"; }), ElementsAre("log.prometheus"));
}

TEST(Validate, TheRecurrentFormIsComparedInValidations) {
  const auto problems_of = [](int64_t every, int64_t recurrent_every, bool valid = true) {
    return keys_after([=](Config& c) {
      if (valid) c.data.valid = {{"book", "b"}};
      c.eval.every = every;
      c.eval.recurrent_every = recurrent_every;
    });
  };
  EXPECT_THAT(problems_of(10, 30), IsEmpty());
  EXPECT_THAT(problems_of(0, 0, false), IsEmpty());
  EXPECT_THAT(problems_of(10, 25), ElementsAre("eval.recurrent_every"));
  EXPECT_THAT(problems_of(0, 10), ElementsAre("eval.recurrent_every"));
  EXPECT_THAT(problems_of(10, 10, false), ElementsAre("eval.recurrent_every"));
}

TEST(Validate, EveryProblemIsReportedAtOnce) {
  EXPECT_THAT(
      keys_after([](Config& c) {
        c.model.vocab_size = 256;
        c.data.train.clear();
        c.train.micro_batch_tokens = 100;
        c.device = DeviceKind::kCpu;
        c.precision = Precision::kBf16;
      }),
      ElementsAre("model.vocab_size", "data.train", "train.micro_batch_tokens", "train.batch_tokens", "precision"));
}

TEST(Validate, TheLayoutsItCallsLegalAre) {
  // Of every layout on up to 32 ranks: validate() accepts it exactly when the mesh can be cut that way.
  for (int ranks = 1; ranks <= 32; ++ranks)
    for (int tp = 1; tp <= ranks; ++tp)
      for (int cp = 1; cp <= ranks; ++cp) {
        Config c = good();
        c.train.batch_tokens = int64_t{32} * 128;
        c.parallel.tp = tp;
        c.parallel.cp = cp;
        const bool legal =
            ranks % (cp * tp) == 0 && c.model.heads % tp == 0 && c.model.ffn_size % tp == 0 && 64 % cp == 0;
        EXPECT_EQ(validate(c, ranks).empty(), legal) << ranks << " tp=" << tp << " cp=" << cp;
        if (!legal) continue;
        EXPECT_EQ(c.mesh(ranks).ranks(), ranks);
        c.parallel.dp = ranks / (cp * tp);
        EXPECT_TRUE(validate(c, ranks).empty());
        c.parallel.dp += 1;
        EXPECT_THAT(keys(validate(c, ranks)), ElementsAre("parallel.dp"));
      }
}

TEST(Validate, AModelFromAFileIsCheckedAlone) {
  ModelConfig m = good().model;
  EXPECT_THAT(validate(m), IsEmpty());
  m.key_expansion = 0.3;
  EXPECT_THAT(keys(validate(m)), ElementsAre("model.key_expansion"));
  m = good().model;
  m.value_expansion = 1.0 / 3;  // 64 / 3 is no whole number
  EXPECT_THAT(keys(validate(m)), ElementsAre("model.value_expansion"));
  m.hidden_size = 96;  // 96 / 3 is, although 1/3 is no binary fraction
  EXPECT_THAT(validate(m), IsEmpty());
  m.rotary = Rotary::kTorchscale;
  m.hidden_size = 8;
  m.value_expansion = 1;
  EXPECT_THAT(keys(validate(m)), ElementsAre("model.rotary"));
}

std::vector<std::string> doubts_after(const std::function<void(Config&)>& change) {
  Config c = good();
  change(c);
  EXPECT_THAT(validate(c, 1), IsEmpty());
  std::vector<std::string> out;
  for (const ConfigProblem& doubt : doubts(c)) out.push_back(doubt.key + " " + doubt.message);
  return out;
}

TEST(Doubts, AnOrdinaryConfigurationHasNone) { EXPECT_THAT(doubts(good()), IsEmpty()); }

TEST(Doubts, AShortTestOfALongRunIsLegal) {
  const auto of_ten_steps = [](const ScheduleConfig& schedule) {
    return doubts_after([&](Config& c) {
      c.train.tokens = c.train.batch_tokens * 10;
      c.schedule = schedule;
    });
  };
  const ScheduleConfig wsd = {.kind = ScheduleKind::kWsd, .warmup_steps = 5, .final = 0, .decay_fraction = 0.5};
  EXPECT_THAT(of_ten_steps(wsd), IsEmpty());
  ScheduleConfig tight = wsd;
  tight.warmup_steps = 6;
  EXPECT_THAT(of_ten_steps(tight), ElementsAre(HasSubstr("the learning rate falls in the last 4 alone")));
  for (const ScheduleKind kind : {ScheduleKind::kWsd, ScheduleKind::kCosine, ScheduleKind::kLinear})
    EXPECT_THAT(of_ten_steps({.kind = kind, .warmup_steps = 375}),
                ElementsAre(HasSubstr("schedule.warmup = 375 steps, but the run has 10 steps (train.tokens / "
                                      "train.batch_tokens, rounded up): the learning rate rises to 10/375 of")));
}

TEST(Doubts, CheckpointsThatAreKeptForEverMustBeSaved) {
  const auto of = [](int64_t every, int64_t keep_every) {
    return doubts_after([&](Config& c) {
      c.checkpoint.every = every;
      c.checkpoint.keep_every = keep_every;
    });
  };
  EXPECT_THAT(of(1000, 0), IsEmpty());
  EXPECT_THAT(of(0, 1500), IsEmpty());
  EXPECT_THAT(of(500, 1500), IsEmpty());
  EXPECT_THAT(
      of(1000, 1500),
      ElementsAre("checkpoint.keep_every = 1500 is no multiple of checkpoint.every = 1000 (nearest: 1000, 2000): "
                  "of what is saved, multiples of 3000 steps are kept for ever"));
  EXPECT_THAT(of((int64_t{1} << 62) - 1, int64_t{1} << 62), ElementsAre(HasSubstr("nothing is kept for ever")));
}

TEST(Validate, EveryReplicaNeedsAMicroBatch) {
  for (int ranks = 1; ranks <= 8; ++ranks) EXPECT_THAT(keys_after([](Config&) {}, ranks), IsEmpty()) << ranks;
  const auto problems = validate(good(), 9);
  ASSERT_THAT(keys(problems), ElementsAre("train.batch_tokens"));
  EXPECT_EQ(problems[0].message,
            "= 1024 holds 8 micro-batches of train.micro_batch_tokens = 128, fewer than the dp = 9 replicas (legal: dp "
            "of 1 to 8, a batch of at least 1152 tokens, micro-batches of at most 64)");
}

TEST(Validate, SizesThatOverflowAreRefused) {
  const auto huge = [](Config& c) { c.train.batch_tokens = c.train.micro_batch_tokens = int64_t{1} << 62; };
  EXPECT_THAT(keys_after(huge, 4), ElementsAre("train.batch_tokens"));
}

TEST(ConfigMesh, AutoFillsTheReplicas) {
  Config c = good();
  c.parallel = {.dp = 0, .cp = 2, .tp = 4, .zero = 1};
  EXPECT_EQ(c.mesh(24).describe(), "dp=3 cp=2 tp=4");
  EXPECT_THROW(c.mesh(12), Error);
}

TEST(ConfigSteps, RoundUp) {
  Config c = good();
  c.train.tokens = 1025;
  EXPECT_EQ(c.steps(), 2);
  c.train.tokens = 1024;
  EXPECT_EQ(c.steps(), 1);
}

}  // namespace
}  // namespace retain
