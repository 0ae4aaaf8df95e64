#include "launch/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "tests/support/ranks.h"

namespace retain {
namespace {

TEST(Session, RanksThatSeeTheSameAgree) {
  test::run_ranks(3, [](Communicator& host) {
    EXPECT_EQ(agree_on_target(host, {}, true, 1).device, DeviceKind::kCuda);
    EXPECT_EQ(agree_on_target(host, {}, false, 1).device, DeviceKind::kCpu);
  });
}

TEST(Session, EveryRankRefusesWhenOneAloneHasNoGpu) {
  std::atomic<int> refusals = 0;
  test::run_ranks(3, [&](Communicator& host) {
    try {
      agree_on_target(host, {}, host.rank() != 1, 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("for rank 0 and none for rank 1"));
      ++refusals;
    }
    Config config;
    config.device = DeviceKind::kCpu;
    EXPECT_EQ(agree_on_target(host, config, host.rank() != 1, 1).device, DeviceKind::kCpu);
  });
  EXPECT_EQ(refusals, 3);
}

TEST(Session, RankZeroReadsTheConfigurationForAll) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / "retain_session_test.yaml";
  std::ofstream(path) << "model: {layers: 2, hidden_size: 64, heads: 4, ffn_size: 64, vocab_size: 257}\n"
                         "data: {train: [{path: /data/train}], seq_len: 64}\n"
                         "train: {tokens: 512k, batch_tokens: 1Ki, micro_batch_tokens: 128}\n";
  std::atomic<int> refusals = 0;
  test::run_ranks(2, [&](Communicator& host) {
    // The file is that of rank 0 alone.
    const std::string mine = host.rank() == 0 ? path.string() : "nowhere.yaml";
    const ParsedConfig parsed = read_config_once(host, mine, {"optimizer.lr=0.1", "train.batch_tokens=512"});
    EXPECT_EQ(parsed.config.optimizer.lr, 0.1);
    EXPECT_EQ(parsed.config.train.batch_tokens, 512);
    EXPECT_THAT(parsed.resolved, ::testing::HasSubstr("# --set 1\n"));
    EXPECT_EQ(parsed.source.empty(), host.rank() != 0);
    try {
      read_config_once(host, mine, {"parallel.dp=3"});
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_EQ(std::string(error.what()).find("--set 1: parallel.dp = 3"), 0u) << error.what();
      ++refusals;
    }
    try {
      read_config_once(host, host.rank() == 0 ? "nowhere.yaml" : path.string(), {});
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kMissingInput);
      ++refusals;
    }
  });
  EXPECT_EQ(refusals, 4);
  std::filesystem::remove(path);
}

TEST(Session, PathsAreExpandedOnceAsTheVariablesOfRankZeroSay) {
  std::atomic<int> refusals = 0;
  test::run_ranks(3, [&](Communicator& host) {
    const auto variables = [&](const std::string& name) {
      return host.rank() == 0 && name == "SCRATCH" ? std::optional<std::string>("/scratch") : std::nullopt;
    };
    TrainOptions options;
    options.config = "$SCRATCH/a.yaml";
    options.init_from = "${SCRATCH}/b";
    Command command = options;
    expand_paths_once(host, command, variables);
    EXPECT_EQ(std::get<TrainOptions>(command).config, "/scratch/a.yaml");
    EXPECT_EQ(std::get<TrainOptions>(command).init_from, "/scratch/b");
    options.resume = "$NONE";
    command = options;
    try {
      expand_paths_once(host, command, variables);
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.exit_code(), 64);
      EXPECT_STREQ(error.what(), "--resume: the variable NONE is not set, got '$NONE'");
      ++refusals;
    }
  });
  EXPECT_EQ(refusals, 3);
}

TEST(Session, AGpuHasTheNumberThatItsHostGivesIt) {
  EXPECT_EQ(gpu_number(3, nullptr), 3);
  EXPECT_EQ(gpu_number(0, "6"), 6);
  EXPECT_EQ(gpu_number(1, "4,7"), 7);
  EXPECT_EQ(gpu_number(2, "4,7"), -1);
  EXPECT_EQ(gpu_number(0, "GPU-8a1b"), -1);
}

}  // namespace
}  // namespace retain
