#include "launch/config/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/launch/config/support.h"
#include "trainer/plan/plan.h"

namespace retain {
namespace {

using test::sources_of;
using ::testing::HasSubstr;

Config read(const std::string& text, const std::vector<std::string>& sets = {}, int ranks = 1) {
  return parse_config(sources_of(text), sets, ranks).config;
}

/// What resolved.yaml says about where the value of this line came from.
std::string origin_of(const std::string& line, const ParsedConfig& parsed) {
  const size_t at = parsed.resolved.find("\n  " + line + "  ");
  if (at == std::string::npos) return "no line " + line;
  const std::string found = parsed.resolved.substr(at + 1, parsed.resolved.find('\n', at + 1) - at - 1);
  return found.substr(found.rfind("  # ") + 4);
}

/// A folder for one test.
class ConfigFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::path(::testing::TempDir()) /
        concat("retain_config_", ::getpid(), "_", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  /// The error that loading gives.
  static std::pair<int, std::string> failure(const std::string& path) {
    try {
      load_config(path, {}, 1);
    } catch (const ConfigError& error) {
      return {error.exit_code(), error.what()};
    }
    return {0, ""};
  }

  std::filesystem::path folder_;
};

TEST(ConfigReader, EveryKindOfValueArrivesInItsPlace) {
  const Config c = read(R"(
run: {dir: out/../runs/x, seed: 9223372036854775807}
model: {layers: 3, hidden_size: 96, heads: 4, key_expansion: 0.5, value_expansion: 1.5, ffn_size: 80, ffn: gelu,
        vocab_size: 1k, tie_embeddings: true, embedding_scale: 2.5, embedding_norm: true, norm_eps: 1e-5, decay: paper_exp,
        rotary: torchscale, group_norm_eps: rowsum, group_norm_affine: false, init_std: 0.1,
        head_norm_eps: 1e-4, init: depth_scaled, base_width: 64}
data:
  tokenizer: bytes
  train:
    - path: a/
    - {path: /abs/b, weight: 0.25}
  valid: {book: c, wiki: d}
  seq_len: 64
  end_of_document: 50
  reset_state_at_documents: false
  end_token_before_windows: true
train: {tokens: 1.5M, batch_tokens: 1Ki, micro_batch_tokens: 256, chunk: 16}
eval: {every: 7, tokens: 2k}
optimizer: {lr: 1e-3, betas: [0.8, 0.7], eps: 1e-9, weight_decay: 0, clip: 0.5}
schedule: {kind: wsd, warmup: 5, final: 0.1, decay_fraction: 0.2}
parallel: {dp: 2, cp: 2, tp: 2, zero: 0}
checkpoint: {every: 10, keep: 4, keep_every: 100, keep_best: 2, async: false, on_error: stop}
log: {every: 3}
device: cuda
precision: bf16
)",
                        {}, 8);
  EXPECT_EQ(c.run.dir, "/base/runs/x");
  EXPECT_EQ(c.run.seed, 9223372036854775807u);
  EXPECT_EQ(c.model.layers, 3);
  EXPECT_EQ(c.model.hidden_size, 96);
  EXPECT_EQ(c.model.heads, 4);
  EXPECT_EQ(c.model.key_expansion, 0.5);
  EXPECT_EQ(c.model.value_expansion, 1.5);
  EXPECT_EQ(c.model.ffn_size, 80);
  EXPECT_EQ(c.model.ffn, FfnKind::kGelu);
  EXPECT_EQ(c.model.vocab_size, 1000);
  EXPECT_TRUE(c.model.tie_embeddings);
  EXPECT_EQ(c.model.embedding_scale, 2.5);
  EXPECT_TRUE(c.model.embedding_norm);
  EXPECT_EQ(c.model.norm_eps, 1e-5);
  EXPECT_EQ(c.model.decay, Decay::kPaperExp);
  EXPECT_EQ(c.model.rotary, Rotary::kTorchscale);
  EXPECT_EQ(c.model.group_norm_eps, GroupNormEps::kRowsum);
  EXPECT_FALSE(c.model.group_norm_affine);
  EXPECT_EQ(c.model.init_std, 0.1);
  EXPECT_EQ(c.model.head_norm_eps, 1e-4);
  EXPECT_EQ(c.model.init, Init::kDepthScaled);
  EXPECT_EQ(c.model.base_width, 64);
  EXPECT_EQ(c.data.tokenizer, "bytes");
  ASSERT_EQ(c.data.train.size(), 2u);
  EXPECT_EQ(c.data.train[0].path, "/base/a");
  EXPECT_EQ(c.data.train[0].weight, 1);
  EXPECT_EQ(c.data.train[1].path, "/abs/b");
  EXPECT_EQ(c.data.train[1].weight, 0.25);
  EXPECT_EQ(c.data.valid, (std::map<std::string, std::string>{{"book", "/base/c"}, {"wiki", "/base/d"}}));
  EXPECT_EQ(c.data.seq_len, 64);
  EXPECT_EQ(c.data.end_of_document, 50);
  EXPECT_FALSE(c.data.reset_state_at_documents);
  EXPECT_TRUE(c.data.end_token_before_windows);
  EXPECT_EQ(c.train.tokens, 1500000);
  EXPECT_EQ(c.train.batch_tokens, 1024);
  EXPECT_EQ(c.train.micro_batch_tokens, 256);
  EXPECT_EQ(c.train.chunk, 16);
  EXPECT_EQ(c.eval.every, 7);
  EXPECT_EQ(c.eval.tokens, 2000);
  EXPECT_EQ(c.optimizer.lr, 1e-3);
  EXPECT_EQ(c.optimizer.beta1, 0.8);
  EXPECT_EQ(c.optimizer.beta2, 0.7);
  EXPECT_EQ(c.optimizer.eps, 1e-9);
  EXPECT_EQ(c.optimizer.weight_decay, 0);
  EXPECT_EQ(c.optimizer.clip, 0.5);
  EXPECT_EQ(c.schedule.kind, ScheduleKind::kWsd);
  EXPECT_EQ(c.schedule.warmup_steps, 5);
  EXPECT_EQ(c.schedule.final, 0.1);
  EXPECT_EQ(c.schedule.decay_fraction, 0.2);
  EXPECT_EQ(c.parallel.dp, 2);
  EXPECT_EQ(c.parallel.cp, 2);
  EXPECT_EQ(c.parallel.tp, 2);
  EXPECT_EQ(c.parallel.zero, 0);
  EXPECT_EQ(c.checkpoint.every, 10);
  EXPECT_EQ(c.checkpoint.keep, 4);
  EXPECT_EQ(c.checkpoint.keep_every, 100);
  EXPECT_EQ(c.checkpoint.keep_best, 2);
  EXPECT_FALSE(c.checkpoint.async);
  EXPECT_EQ(c.checkpoint.on_error, OnSaveError::kStop);
  EXPECT_EQ(c.log.every, 3);
  EXPECT_EQ(c.device, DeviceKind::kCuda);
  EXPECT_EQ(c.precision, Precision::kBf16);
  EXPECT_EQ(c.mesh(8).describe(), "dp=2 cp=2 tp=2");
}

TEST(ConfigReader, LaterSourcesWinOverEarlierOnes) {
  ConfigSources sources = sources_of("base: [good.yaml, other.yaml]\noptimizer: {eps: 3}\nlog: {every: 3}\n");
  sources.files.push_back({"other.yaml", "optimizer: {lr: 2, eps: 2, clip: 2}\ndata: {valid: {wiki: w}}\n"});
  const ParsedConfig parsed = parse_config(sources, {"log.every=4", "log.every=5", "data.valid.play=p"}, 1);
  EXPECT_EQ(parsed.config.optimizer.lr, 2);               // base
  EXPECT_EQ(parsed.config.optimizer.eps, 3);              // file over base
  EXPECT_EQ(parsed.config.log.every, 5);                  // the last --set over all
  EXPECT_EQ(parsed.config.optimizer.weight_decay, 0.05);  // default
  EXPECT_EQ(parsed.config.data.valid, (std::map<std::string, std::string>{
                                          {"book", "/base/data/book"}, {"play", "/base/p"}, {"wiki", "/base/w"}}));
  EXPECT_EQ(origin_of("lr: 2", parsed), "other.yaml:1:17");
  EXPECT_EQ(origin_of("eps: 3", parsed), "run.yaml:2:18");
  EXPECT_EQ(origin_of("every: 5", parsed), "--set 2");
  EXPECT_EQ(origin_of("weight_decay: 0.05", parsed), "default");
}

TEST(ConfigReader, AnEmptyMapEmptiesTheValidationSets) {
  EXPECT_TRUE(read("base: [good.yaml]\n", {"data.valid={}"}).data.valid.empty());
}

TEST(ConfigReader, ASectionWithoutKeysIsAsIfItWereNotThere) {
  EXPECT_EQ(read("base: [good.yaml]\neval:\nlog: {}\n").eval.every, 500);
}

TEST(ConfigReader, SetTakesWhatTheFileTakes) {
  const Config c = read("base: [good.yaml]\n",
                        {"optimizer={lr: 1, betas: [0.5, 0.6]}", "data.train=[{path: x}, {path: y, weight: 2}]",
                         "train.chunk=auto", "parallel.dp=auto", "train.tokens=2M", "run.dir=a=b", "device=cpu"});
  EXPECT_EQ(c.optimizer.beta2, 0.6);
  EXPECT_EQ(c.data.train.at(1).path, "/base/y");
  EXPECT_EQ(c.train.tokens, 2000000);
  EXPECT_EQ(c.run.dir, "/base/a=b");
  EXPECT_EQ(c.device, DeviceKind::kCpu);
}

TEST(ConfigReader, WhatIsLegalAndOddIsSaidWithItsPlace) {
  const ParsedConfig odd =
      parse_config(sources_of("base: [good.yaml]\nschedule: {warmup: 1001}\ncheckpoint: {every: 1000}\n"),
                   {"checkpoint.keep_every=1500"}, 1);
  ASSERT_EQ(odd.doubts.size(), 2u);
  EXPECT_THAT(odd.doubts[0], HasSubstr("run.yaml:2:20: schedule.warmup = 1001 steps, but the run has 1000 steps"));
  EXPECT_THAT(odd.doubts[1], HasSubstr("--set 1: checkpoint.keep_every = 1500 is no multiple of checkpoint.every"));
  EXPECT_TRUE(parse_config(sources_of("base: [good.yaml]\n"), {}, 1).doubts.empty());
  // A clash with a default is placed at what clashes.
  const ParsedConfig by_default = parse_config(sources_of("base: [good.yaml]\n"), {"train.tokens=1k"}, 1);
  EXPECT_THAT(by_default.doubts.at(0), HasSubstr("--set 1: schedule.warmup = 375 steps, but the run has 2 steps"));
}

TEST(ConfigReader, VariablesAndHomeInPathsAreResolved) {
  ConfigSources sources = sources_of(
      "base: [\"$SCRATCH/common.yaml\"]\nrun: {dir: ~/runs/x}\n"
      "data: {train: [{path: $SCRATCH/a}, {path: \"${SCRATCH}/b\"}], valid: {book: ~/book}}\n");
  sources.files.push_back({"/scratch/common.yaml", sources.files[1].text});
  const ParsedConfig parsed = parse_config(sources, {"data.valid.wiki=$SCRATCH/wiki"}, 1);
  EXPECT_EQ(parsed.config.run.dir, "/home/me/runs/x");
  EXPECT_EQ(parsed.config.data.train.at(0).path, "/scratch/a");
  EXPECT_EQ(parsed.config.data.train.at(1).path, "/scratch/b");
  EXPECT_EQ(parsed.config.data.valid.at("book"), "/home/me/book");
  EXPECT_EQ(parsed.config.data.valid.at("wiki"), "/scratch/wiki");
  EXPECT_EQ(parsed.resolved.find('$'), std::string::npos) << parsed.resolved;
  EXPECT_EQ(parsed.resolved.find('~'), std::string::npos) << parsed.resolved;
}

TEST(ConfigReader, WithoutVariablesPathsAreTakenAsTheyWereResolved) {
  ConfigSources saved = sources_of("base: [good.yaml]\nrun: {dir: $HOME/~/x}\n");
  saved.variables = {};
  EXPECT_EQ(parse_config(saved, {}, 0).config.run.dir, "/base/$HOME/~/x");
}

TEST(ConfigReader, WindowsLineEndsAndAByteOrderMarkAreRead) {
  EXPECT_EQ(read("\xef\xbb\xbf"
                 "base: [good.yaml]\r\nlog:\r\n  every: 3\r\n")
                .log.every,
            3);
}

TEST(ConfigReader, WithoutRanksValuesAreNotCheckedAgainstThem) {
  EXPECT_EQ(read("base: [good.yaml]\nparallel: {dp: 64}\n", {}, 0).parallel.dp, 64);
  EXPECT_NE(test::complaint("base: [good.yaml]\nparallel: {dp: 64}\n"), "");
}

TEST(ConfigReader, TheResolvedConfigurationIsReadBackAsItself) {
  ConfigSources sources = sources_of(
      "base: [good.yaml]\nrun: {dir: \"dir with blank: and # größe\"}\noptimizer: {lr: 0.1, eps: 1e-300}\n"
      "train: {tokens: 1.3M}\ndata: {train: [{path: a, weight: 0.1}, {path: b}], valid: {x-1: \"y z\"}}\n");
  const ParsedConfig first = parse_config(sources, {"log.every=3", "schedule.final=0.3"}, 1);
  const std::string& resolved = first.resolved;
  ConfigSources again;
  again.files = {{"resolved.yaml", resolved}};
  again.working_directory = "/elsewhere";
  const ParsedConfig second = parse_config(again, {}, 1);
  EXPECT_EQ(second.config.optimizer.lr, 0.1);
  EXPECT_EQ(second.config.run.dir, "/base/dir with blank: and # größe");
  // All values by their text; origins differ.
  const auto values = [](const std::string& text) {
    std::string out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line); out += "\n") out += line.substr(0, line.rfind("  # "));
    return out;
  };
  EXPECT_EQ(values(resolved), values(second.resolved));
  const std::vector<std::pair<std::string, std::string>> lines = {
      {"seed: 1", "default"},
      {"lr: 0.1", "run.yaml:3:17"},
      {"layers: 2", "good.yaml:3:17"},
      {"every: 3", "--set 1"},
      {"tokens: 1300000", "run.yaml:4:17"},
      {"valid: {book: /base/data/book, x-1: \"/base/y z\"}", "book: good.yaml:4:51, x-1: run.yaml:5:65"}};
  for (const auto& [value, origin] : lines) EXPECT_EQ(origin_of(value, first), origin) << value;
}

TEST_F(ConfigFiles, BaseFilesAreFoundBesideTheFileThatNamesThem) {
  write("common/deep.yaml", "log: {every: 77}\n");
  write("common/base.yaml", "base: [deep.yaml]\n" + sources_of("").files[1].text);
  const std::string path = write("exp/run.yaml", "base: [../common/base.yaml]\nrun: {dir: here}\n");
  const ParsedConfig parsed = load_config(path, {}, 1);
  EXPECT_EQ(parsed.config.log.every, 77);
  EXPECT_EQ(parsed.config.run.dir, (std::filesystem::current_path() / "here").string());
  EXPECT_EQ(origin_of("layers: 2", parsed), (folder_ / "common/base.yaml").string() + ":4:17");
  EXPECT_EQ(parsed.source, "base: [../common/base.yaml]\nrun: {dir: here}\n");
}

TEST_F(ConfigFiles, AMissingFileIsNamedAndEndsWith66) {
  const auto [code, text] = failure((folder_ / "none.yaml").string());
  EXPECT_EQ(code, 66);
  EXPECT_THAT(text, HasSubstr("none.yaml': No such file or directory"));
  const auto [base_code, base_text] = failure(write("run.yaml", "\nbase: [gone.yaml]\n"));
  EXPECT_EQ(base_code, 66);
  EXPECT_THAT(base_text, HasSubstr("gone.yaml' (base of "));
  EXPECT_THAT(base_text, HasSubstr("run.yaml:2): No such file"));
}

TEST_F(ConfigFiles, TheFileThatWasMeantIsNamed) {
  const std::filesystem::path before = std::filesystem::current_path();
  for (const char* name : {"run.yaml", "other.yml", "configs/demo.yaml", "below/x.yaml"})
    write(name, "log: {every: 3}\n");
  std::filesystem::current_path(folder_ / "below");
  const std::vector<std::pair<std::string, std::string>> cases = {{"../run.yml", "../run.yaml"},
                                                                  {"../run", "../run.yaml"},
                                                                  {"../other.yaml", "../other.yml"},
                                                                  {"../rnu.yaml", "../run.yaml"},
                                                                  {"demo.yaml", "../configs/demo.yaml"},
                                                                  {"demo", "../configs/demo.yaml"},
                                                                  {"nothing/like/demo.yml", "../configs/demo.yaml"}};
  for (const auto& [name, meant] : cases)
    EXPECT_THAT(failure(name).second,
                HasSubstr("'" + name + "': No such file or directory (did you mean '" + meant + "'?)"));
  EXPECT_THAT(failure("nothing_like_it.yaml").second, ::testing::EndsWith("No such file or directory"));
  std::filesystem::current_path(before);
}

// Those of the paper's sizes whose heads 8 does not divide have a variant whose heads it does.
TEST_F(ConfigFiles, ThoseOfTheTreeAreLegalOnEightTensorParallelRanks) {
  const std::filesystem::path configs = std::filesystem::path(RETAIN_SOURCE_DIR) / "configs";
  std::map<std::string, int> legal;  // "retnet_13b" -> files
  for (const auto& entry : std::filesystem::directory_iterator(configs)) {
    const std::string name = entry.path().stem().string();
    const bool variant = name.ends_with("heads");
    if (!name.starts_with("retnet_")) continue;
    const std::string size = variant ? name.substr(0, name.rfind('_')) : name;
    const auto load = [&] { return load_config(entry.path().string(), {"parallel.tp=8"}, 8).config; };
    const bool divides =
        variant || load_config(entry.path().string(), {"parallel.tp=1"}, 1).config.model.heads % 8 == 0;
    legal[size] += divides ? 1 : 0;
    if (!divides) {
      EXPECT_THROW(load(), ConfigError) << name;
      continue;
    }
    const Config config = load();
    const RunPlan plan = make_plan(config, 8, {.device = DeviceKind::kCuda, .compute = DType::kBfloat16});
    const Config paper = load_config((configs / (size + ".yaml")).string(), {"parallel.tp=1"}, 1).config;
    EXPECT_NEAR(static_cast<double>(plan.parameters.all), static_cast<double>(count_parameters(paper.model).all), 1e5);
  }
  EXPECT_EQ(legal.size(), 7U);
  for (const auto& [size, files] : legal) EXPECT_EQ(files, 1) << size;
}

TEST_F(ConfigFiles, AFolderIsNoConfiguration) {
  const auto [code, text] = failure(folder_.string());
  EXPECT_EQ(code, 66);
  EXPECT_THAT(text, HasSubstr("Is a directory"));
}

TEST_F(ConfigFiles, AHugeFileIsRefusedBeforeItIsRead) {
  const auto [code, text] = failure(write("huge.yaml", std::string((128 << 10) + 1, '#')));
  EXPECT_EQ(code, 78);
  EXPECT_THAT(text, HasSubstr("at most 131072 bytes"));
}

TEST_F(ConfigFiles, BaseFilesCountTowardsTheLargestSize) {
  write("base.yaml", "log: {every: 3}\n" + std::string(64 << 10, '#'));
  EXPECT_EQ(failure(write("small.yaml", "base: [base.yaml]\n" + std::string(60 << 10, '#'))).second.find("at most"),
            std::string::npos);
  EXPECT_THAT(failure(write("large.yaml", "base: [base.yaml]\n" + std::string(64 << 10, '#'))).second,
              HasSubstr("at most 131072 bytes"));
}

TEST_F(ConfigFiles, ALongChainOfBaseFilesIsCutOff) {
  for (int i = 0; i < 70; ++i) write(concat("l", i, ".yaml"), concat("base: [l", i + 1, ".yaml]\n"));
  const auto [code, text] = failure((folder_ / "l0.yaml").string());
  EXPECT_EQ(code, 78);
  EXPECT_THAT(text, HasSubstr("more than 63 base files"));
}

TEST_F(ConfigFiles, AFolderThatHoldsItselfEndsWithAnError) {
  std::filesystem::create_directory_symlink(".", folder_ / "x");
  EXPECT_NE(failure(write("run.yaml", "base: [x/run.yaml]\n")).first, 0);
}

TEST_F(ConfigFiles, ADiamondOfBaseFilesDoesNotExplode) {
  for (int i = 0; i < 40; ++i) {
    const std::string next = concat("l", i + 1, ".yaml");
    write(concat("l", i, ".yaml"), concat("base: [", next, ", ", next, "]\n"));
  }
  write("l40.yaml", "log: {every: 3}\n");
  const auto [code, text] = failure((folder_ / "l0.yaml").string());
  EXPECT_EQ(code, 78);
  EXPECT_THAT(text, HasSubstr("name each other too often"));
}

}  // namespace
}  // namespace retain
