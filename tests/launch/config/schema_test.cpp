#include "launch/config/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <set>
#include <sstream>

#include "launch/config/problems.h"
#include "launch/config/suggest.h"
#include "tests/launch/config/support.h"

namespace retain {
namespace {

TEST(ConfigSchema, ReferenceYamlIsWrittenFromTheTable) {
  test::expect_golden(reference_yaml(), "configs/reference.yaml");
}

TEST(ConfigSchema, ReferenceYamlHoldsEveryDefault) {
  ConfigSources sources;
  sources.files = {{"reference.yaml", reference_yaml()}};
  const ParsedConfig parsed = parse_config(sources, {}, 1);
  EXPECT_EQ(parsed.resolved.find("# default"), std::string::npos) << parsed.resolved;
  const Config defaults;
  for (const Field& field : config_fields()) {
    if (field.example.empty()) {
      EXPECT_EQ(field.get(parsed.config), field.get(defaults)) << field.path;
    } else {
      EXPECT_NE(field.get(parsed.config), field.get(defaults)) << field.path;
    }
  }
}

TEST(ConfigSchema, EveryKeyIsExplainedOnceInALineThatFits) {
  std::set<std::string> paths;
  for (const Field& field : config_fields()) {
    EXPECT_TRUE(paths.insert(field.path).second) << field.path;
    EXPECT_FALSE(field.doc.empty()) << field.path;
  }
  std::istringstream lines(reference_yaml());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 120u) << line;
}

TEST(ConfigSchema, TheKeysAreTheseAndNoOthers) {
  std::string keys;
  for (const Field& field : config_fields()) keys += field.path + " ";
  EXPECT_EQ(
      keys,
      "run.dir run.seed "
      "model.layers model.hidden_size model.heads model.key_expansion model.value_expansion model.ffn_size model.ffn "
      "model.vocab_size model.tie_embeddings model.embedding_scale model.embedding_norm model.norm_eps "
      "model.head_norm_eps model.decay model.rotary model.group_norm_eps model.group_norm_affine model.init_std "
      "model.init model.base_width "
      "data.tokenizer data.train data.valid data.seq_len data.end_of_document data.reset_state_at_documents "
      "data.end_token_before_windows "
      "train.tokens train.batch_tokens train.micro_batch_tokens train.recompute train.segment_tokens train.chunk "
      "train.graph "
      "eval.every eval.tokens eval.loss_by_position eval.recurrent_every "
      "optimizer.lr optimizer.betas optimizer.eps optimizer.weight_decay optimizer.clip "
      "schedule.kind schedule.warmup schedule.final schedule.decay_fraction "
      "parallel.dp parallel.cp parallel.tp parallel.tp_chunks parallel.zero parallel.gradient_dtype "
      "checkpoint.every checkpoint.keep checkpoint.keep_every checkpoint.keep_best checkpoint.async "
      "checkpoint.on_error checkpoint.free_before_save "
      "numerics.max_skips numerics.max_rollbacks numerics.on_spike numerics.spike_score numerics.spike_window "
      "numerics.check_replicas_every numerics.replay_every "
      "log.every log.norms_every log.prometheus limits.hang_timeout limits.wall_time device precision ");
}

TEST(ConfigSchema, NamesOfOthersAreNoneOfOurs) {
  std::set<std::string> paths;
  for (const Field& field : config_fields()) paths.insert(field.path);
  for (const Field& field : config_fields())
    for (const std::string& name : field.other_names)
      EXPECT_FALSE(paths.contains(field.section() + "." + name)) << field.path << " " << name;
}

TEST(ConfigSchema, ValuesOutsideTheirBoundsAreRefusedAtTheirKey) {
  const std::vector<const char*> counts = {"model.layers",         "model.heads",
                                           "model.base_width",     "model.hidden_size",
                                           "model.ffn_size",       "model.vocab_size",
                                           "data.seq_len",         "parallel.dp",
                                           "parallel.cp",          "parallel.tp",
                                           "parallel.tp_chunks",   "train.tokens",
                                           "train.chunk",          "train.segment_tokens",
                                           "train.batch_tokens",   "train.micro_batch_tokens",
                                           "checkpoint.keep",      "log.every",
                                           "eval.tokens",          "numerics.max_skips",
                                           "numerics.spike_window"};
  const std::vector<const char*> whole = {"run.seed",
                                          "eval.every",
                                          "eval.recurrent_every",
                                          "schedule.warmup",
                                          "checkpoint.every",
                                          "parallel.zero",
                                          "checkpoint.keep_every",
                                          "checkpoint.keep_best",
                                          "numerics.max_rollbacks",
                                          "numerics.check_replicas_every",
                                          "numerics.replay_every",
                                          "log.norms_every"};
  const std::vector<const char*> above_zero = {
      "optimizer.lr",        "optimizer.eps",         "schedule.decay_fraction",
      "model.key_expansion", "model.value_expansion", "model.embedding_scale",
      "model.norm_eps",      "model.init_std",        "model.head_norm_eps"};
  const std::vector<const char*> real = {"optimizer.clip", "optimizer.weight_decay", "schedule.final",
                                         "numerics.spike_score"};
  const auto expect_refused = [](const std::string& key, const std::string& value) {
    const std::string said = test::complaint("base: [good.yaml]\n", {key + "=" + value});
    EXPECT_EQ(said.find("--set 1: " + key + ": expected "), 0u) << said;
    EXPECT_NE(said.find("\n1 error;"), std::string::npos) << said;
  };
  for (const char* key : counts) expect_refused(key, "0");
  for (const auto& keys : {counts, whole, above_zero, real})
    for (const char* key : keys) expect_refused(key, "-1");
  for (const char* key : above_zero) expect_refused(key, "0");
  for (const auto& keys : {above_zero, real})
    for (const char* key : keys)
      for (const char* value : {".nan", ".inf", "1e999"}) expect_refused(key, value);
  for (const char* value : {"[-1, 0.9]", "[0.9, 1]", "[.nan, 0.9]"}) expect_refused("optimizer.betas", value);
  for (const char* value : {"-1", "0", ".nan", ".inf"})
    expect_refused("data.train", std::string("[{path: a, weight: ") + value + "}]");
  for (const char* key : {"schedule.final", "schedule.decay_fraction"}) expect_refused(key, "2");
  expect_refused("parallel.zero", "3");
}

TEST(ConfigSchema, AResumeMayChangeEverythingButTheModelAndWhatDecidesWhichTokensAreSeenIfAllowed) {
  std::string keys;
  for (const std::string& key : changeable_keys()) keys += key + " ";
  EXPECT_EQ(keys,
            "run.seed data.tokenizer data.contents data.seq_len data.end_of_document data.reset_state_at_documents "
            "data.end_token_before_windows ");
  for (const auto& [key, about] : run_keys(Config()))
    EXPECT_EQ(about.resume, key.starts_with("model.")                   ? Resume::kMustAgree
                            : keys.find(key + " ") != std::string::npos ? Resume::kIfAllowed
                                                                        : Resume::kMayDiffer)
        << key;
}

TEST(ConfigSchema, WhatAResumeMayChangeStandsInTheReadme) {
  EXPECT_NE(test::read_source("README.md").find("```\n" + resume_table() + "```\n"), std::string::npos)
      << "README.md lacks this:\n"
      << resume_table();
}

TEST(ConfigSchema, NamesOfDevicesAndPrecisionsStandInTheOrderOfTheirValues) {
  for (size_t i = 0; i < named_devices().size(); ++i) EXPECT_EQ(named_devices()[i].second, static_cast<DeviceKind>(i));
  for (size_t i = 0; i < named_precisions().size(); ++i)
    EXPECT_EQ(named_precisions()[i].second, static_cast<Precision>(i));
}

TEST(SuggestKey, FindsWhatWasMeant) {
  const std::vector<Field> fields = config_fields();
  const std::vector<std::array<const char*, 3>> cases = {
      {"model", "hiden_size", "model.hidden_size"},
      {"model", "d_model", "model.hidden_size"},
      {"model", "num_hidden_layers", "model.layers"},
      {"optimizer", "beta2", "optimizer.betas"},
      {"train", "lr", "optimizer.lr"},
      {"train", "max_grad_norm", "optimizer.clip"},
      {"data", "sequence_length", "data.seq_len"},
      {"checkpoint", "save_interval", "checkpoint.every"},
      {"log", "interval", "log.every"},
      {"", "seed", "run.seed"},
      {"run", "devcie", "device"},
      {"schedule", "xyzzy", ""},
  };
  for (const auto& [section, name, meant] : cases) EXPECT_EQ(suggest_key(fields, section, name), meant) << name;
}

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("", "ab"), 2);
  EXPECT_EQ(edit_distance("layers", "layer"), 1);
  EXPECT_EQ(edit_distance("trian", "train"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

class ShippedConfig : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedConfig, IsReadAndLegal) {
  const std::string path = test::source_path("configs/" + GetParam());
  const ParallelConfig asked = load_config(path, {}, 0).config.parallel;
  const Config config = load_config(path, {}, std::max(asked.dp, 1) * asked.cp * asked.tp).config;
  EXPECT_TRUE(validate(config.model).empty());
}

std::vector<std::string> shipped_configs() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_path("configs")))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().filename().string());
  // Those of studies have a reader of their own: study_reader_test.cpp.
  std::erase_if(names, [](const std::string& name) { return name.starts_with("study_"); });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, ::testing::ValuesIn(shipped_configs()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

/// Parameters: vocabulary · width · (2 or 1 when tied) + width + layers · (2 d·keys + 3 d·values + 3 d·ffn + 2 d + V).
int64_t parameters(const ModelConfig& m) {
  const int64_t d = m.hidden_size, keys = m.key_dim() * m.heads, values = m.value_dim() * m.heads;
  return m.vocab_size * d * (m.tie_embeddings ? 1 : 2) + d +
         m.layers * (2 * d * keys + 3 * d * values + 3 * d * m.ffn_size + 2 * d + m.value_dim());
}

TEST(ShippedConfig, HasTheSizeItsNameSays) {
  const std::vector<std::pair<const char*, double>> sizes = {{"125m", 125e6},     {"350m", 350e6}, {"1.3b", 1.3e9},
                                                             {"1.4b_fla", 1.4e9}, {"2.7b", 2.7e9}, {"6.7b", 6.7e9},
                                                             {"13b", 13e9}};
  for (const auto& [name, size] : sizes) {
    const std::string path = test::source_path(std::string("configs/retnet_") + name + ".yaml");
    const auto count = static_cast<double>(parameters(load_config(path, {}, 0).config.model));
    EXPECT_NEAR(count / size, 1, 0.05) << name << " has " << count;
  }
}

}  // namespace
}  // namespace retain
