#include "launch/config/saved.h"

#include <gtest/gtest.h>

#include "launch/config/schema.h"
#include "tests/launch/config/support.h"

namespace retain {
namespace {

const char* const kSaved = "model: {layers: 3}\ntrain: {tokens: 10, batch_tokens: 5, micro_batch_tokens: 5}\n";

TEST(SavedConfig, IsWhatResolvedYamlSays) {
  const ParsedConfig parsed = parse_config(test::sources_of("base: [good.yaml]"), {"optimizer.lr=3e-4"}, 1);
  const SavedConfig saved = read_saved_config(parsed.resolved);
  EXPECT_TRUE(saved.unknown.empty());
  for (const Field& field : config_fields()) EXPECT_EQ(saved.values.at(field.path), field.get(parsed.config));
}

TEST(SavedConfig, AKeyThatCameLaterIsAtItsDefault) {
  const SavedConfig saved = read_saved_config(kSaved);
  EXPECT_EQ(saved.config.model.layers, 3);
  EXPECT_EQ(saved.values.size(), config_fields().size());
  for (const Field& field : config_fields()) {
    if (field.path == "model.layers" || field.section() == "train") continue;
    EXPECT_EQ(saved.values.at(field.path), field.get(Config())) << field.path;
  }
}

TEST(SavedConfig, KeysAndValuesThatAreKnownNoMoreAreTold) {
  const SavedConfig saved =
      read_saved_config(std::string(kSaved) + "data: {magic: 7}\nmagic: [1]\nold: {a: b}\ndevice: abacus\n");
  const std::map<std::string, std::string> want = {
      {"data.magic", "7"}, {"magic", "a list"}, {"old.a", "b"}, {"device", "abacus"}};
  EXPECT_EQ(saved.unknown, want);
  EXPECT_EQ(saved.config.train.tokens, 10);
}

TEST(SavedConfig, WhatIsNoConfigurationIsRefused) {
  for (const char* text : {"", "[1, 2]", "a: [", "words"}) {
    try {
      read_saved_config(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData) << text;
    }
  }
}

}  // namespace
}  // namespace retain
