#include "trainer/run/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/data/documents.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr MeshShape kMesh{2, 1, 1};

/// A checkpoint and a run that goes on from it, equal in everything.
struct Pair {
  RunState saved;
  SavedConfig config;
  std::map<std::string, RunKey> now = {{"model.layers", {"2", Resume::kMustAgree}},
                                       {"run.seed", {"1", Resume::kIfAllowed}},
                                       {kDataContents, {"aa", Resume::kIfAllowed}},
                                       {"optimizer.lr", {"0.001", Resume::kMayDiffer}}};

  Pair() {
    saved.mesh = kMesh;
    saved.identity = kept_values(now);
    for (const auto& [key, here] : now)
      if (key != kDataContents) config.values[key] = here.value;
  }

  std::vector<Change> changes(const MeshShape& mesh = kMesh) const { return changes_since(saved, config, now, mesh); }
  std::vector<std::string> lines(const MeshShape& mesh = kMesh) const {
    std::vector<std::string> lines;
    for (const Change& change : changes(mesh)) lines.push_back(change.describe());
    return lines;
  }
  std::string refusal(const std::vector<std::string>& allowed = {}) const {
    try {
      refuse_changes(changes(), allowed);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      return error.what();
    }
    return "";
  }
};

TEST(ResumeChanges, AreNoneWhereNothingDiffers) { EXPECT_THAT(Pair().lines(), IsEmpty()); }

TEST(ResumeChanges, NameEveryKeyWithBothValues) {
  Pair pair;
  pair.config.values = {{"model.layers", "3"}, {"run.seed", "7"}, {"optimizer.lr", "0.1"}};
  pair.saved.identity[kDataContents] = "bb";
  EXPECT_THAT(pair.lines({1, 1, 2}), ElementsAre("data.contents was bb and is aa", "model.layers was 3 and is 2",
                                                 "optimizer.lr was 0.1 and is 0.001", "run.seed was 7 and is 1",
                                                 "mesh was dp=2 cp=1 tp=1 and is dp=1 cp=1 tp=2"));
  EXPECT_EQ(Pair().refusal(), "");
  EXPECT_THAT(pair.refusal(), HasSubstr("\n  data.contents: the checkpoint has bb, this run has aa (what the sets of "
                                        "data.train hold, and their weights)"
                                        "\n  model.layers: the checkpoint has 3, this run has 2"
                                        "\n  run.seed: the checkpoint has 7, this run has 1\na run keeps its model"));
}

TEST(ResumeChanges, AnotherEndTokenIsToldAndRefusesNothing) {
  Pair pair;
  pair.now[kDataEndToken] = {"46"};
  EXPECT_THAT(pair.changes(), IsEmpty());  // a checkpoint that does not say it
  EXPECT_EQ(kept_values(pair.now)[kDataEndToken], "46");
  pair.saved.identity[kDataEndToken] = kNoEndToken;
  EXPECT_THAT(pair.lines(), ElementsAre("data.end_token was none and is 46: documents begin with another token"));
  EXPECT_TRUE(pair.changes()[0].is_warning());
  EXPECT_EQ(pair.refusal(), "");
}

TEST(ResumeChanges, WhatMayBeAllowedIsRefusedWithTheOptionThatAllowsIt) {
  Pair pair;
  pair.config.values["run.seed"] = "7";
  pair.saved.identity[kDataContents] = "bb";
  EXPECT_THAT(pair.refusal(), HasSubstr("--allow-changed data.contents,run.seed goes on"));
  EXPECT_THAT(pair.refusal({"run.seed"}), HasSubstr("--allow-changed data.contents goes on"));
  EXPECT_EQ(pair.refusal({"run.seed", "data.contents"}), "");
}

TEST(ResumeChanges, AnotherSeedDoesNotHideOtherData) {
  Pair pair;
  pair.config.values["run.seed"] = "7";
  EXPECT_EQ(pair.refusal({"run.seed"}), "");
  pair.saved.identity[kDataContents] = "bb";
  EXPECT_THAT(pair.refusal({"run.seed"}), HasSubstr("data.contents: the checkpoint has bb, this run has aa"));
}

TEST(ResumeChanges, WhatAutoCameToIsComparedWhereItIsKept) {
  Pair pair;
  pair.now["precision"] = {"auto", Resume::kMayDiffer, "fp32"};
  pair.config.values["precision"] = "auto";
  EXPECT_THAT(pair.lines(), IsEmpty()) << "an older release does not keep it";
  pair.saved.identity["precision"] = "bf16";
  EXPECT_THAT(pair.lines(), ElementsAre("precision was bf16 and is fp32"));
  EXPECT_EQ(pair.refusal(), "");
  pair.saved.identity = kept_values(pair.now);
  EXPECT_THAT(pair.lines(), IsEmpty());
  pair.config.values["precision"] = "fp32";  // which is the same
  EXPECT_THAT(pair.lines(), ElementsAre("precision was fp32 and is auto"));
}

TEST(ResumeChanges, ATokenizerThatLiesElsewhereIsTheSame) {
  Pair pair;
  pair.now["data.tokenizer"] = {"/new/place", Resume::kIfAllowed, "0123456789abcdef"};
  pair.config.values["data.tokenizer"] = "/old/place";
  pair.saved.identity["data.tokenizer"] = "0123456789abcdef";
  EXPECT_THAT(pair.lines(), ElementsAre("data.tokenizer was /old/place and is /new/place"));
  EXPECT_EQ(pair.refusal(), "");
  pair.saved.identity["data.tokenizer"] = "bytes";
  EXPECT_THAT(pair.refusal(), HasSubstr("data.tokenizer: the checkpoint has bytes, this run has 0123456789abcdef"));
  EXPECT_EQ(pair.refusal({"data.tokenizer"}), "");
}

TEST(ResumeChanges, AnOlderReleaseIsNotComparedInWhatItDoesNotKeep) {
  Pair pair;
  pair.saved.identity = {{"model.layers", "2"}, {"data.fingerprint", "cc"}};
  EXPECT_THAT(pair.lines(), ElementsAre("documents begin at their end token, no more after their end token: losses are "
                                        "not comparable with those before"));
  EXPECT_EQ(pair.refusal(), "");
}

TEST(ResumeChanges, WhereDocumentsBeginIsAWarningAndRefusesNothing) {
  Pair pair;
  pair.saved.identity["data.documents"] = "elsewhere";
  ASSERT_EQ(pair.changes().size(), 1U);
  EXPECT_TRUE(pair.changes()[0].is_warning());
  EXPECT_EQ(pair.lines()[0], concat("documents begin ", kDocumentsBegin,
                                    ", no more elsewhere: losses are not comparable with those before"));
  EXPECT_EQ(pair.refusal(), "");
}

TEST(ResumeChanges, WhatThisReleaseDoesNotKnowIsToldAndOfAModelRefused) {
  Pair pair;
  pair.config.unknown = {{"train.magic", "3"}};
  EXPECT_THAT(pair.lines(), ElementsAre("train.magic was 3, which this release does not know"));
  EXPECT_EQ(pair.refusal(), "");
  pair.config.unknown = {{"model.magic", "3"}};
  EXPECT_THAT(pair.refusal(), HasSubstr("model.magic: the checkpoint has 3, this run has no such key"));
}

Config config_of(double lr, int64_t tokens, int64_t batch_tokens = 100) {
  Config config;
  config.optimizer.lr = lr;
  config.schedule = {.kind = ScheduleKind::kLinear, .warmup_steps = 0, .final = 0};
  config.train.tokens = tokens;
  config.train.batch_tokens = batch_tokens;
  return config;
}

TEST(RateJump, IsToldWithBothRatesAndWhatWouldAvoidIt) {
  const std::vector<Change> changes = {{"optimizer.lr", "0.01", "0.02", Resume::kMayDiffer},
                                       {"log.every", "1", "2", Resume::kMayDiffer}};
  const std::string jump = find_rate_jump(config_of(0.01, 4000), config_of(0.02, 4000), 2000, changes);
  EXPECT_THAT(jump, HasSubstr("from 5.000e-03 to 1.000e-02"));
  EXPECT_THAT(jump, HasSubstr("optimizer.lr = 0.01 (this schedule"));
  EXPECT_THAT(jump, HasSubstr("as before: optimizer.lr = 0.01"));
  EXPECT_THAT(jump, Not(HasSubstr("log.every")));
}

TEST(RateJump, OfATenthIsNone) {
  EXPECT_EQ(find_rate_jump(config_of(0.01, 4000), config_of(0.0109, 4000), 2000, {}), "");
  EXPECT_NE(find_rate_jump(config_of(0.01, 4000), config_of(0.0111, 4000), 2000, {}), "");
  EXPECT_NE(find_rate_jump(config_of(0.01, 4000), config_of(0.0089, 4000), 2000, {}), "");
}

TEST(RateJump, AfterTheEndOfAScheduleIsOneAndAnotherBatchIsNone) {
  EXPECT_THAT(find_rate_jump(config_of(0.01, 4000), config_of(0.01, 8000), 4000, {}), HasSubstr("--resume PATH"));
  EXPECT_EQ(find_rate_jump(config_of(0.01, 4000), config_of(0.01, 4000, 50), 2000, {}), "");
}

}  // namespace
}  // namespace retain::test
