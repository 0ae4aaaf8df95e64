// What is said about command lines that are wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/command_line/options.h"
#include "tests/launch/command_line/parse.h"

namespace retain {
namespace {

using ::testing::HasSubstr;

TEST(CommandLine, AnUnknownVerbGetsASuggestionAndTheList) {
  const std::string page = complaint({});
  const std::string list = page.substr(page.find('\n'));
  EXPECT_THAT(list, ::testing::StartsWith("\nverbs:\n  train                 Trains a model.\n  plan "));
  EXPECT_THAT(list, ::testing::EndsWith("\n'retain help VERB' explains a verb"));
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_EQ(complaint({"trian"}), "no verb 'trian' (did you mean 'train'?)" + list);
  EXPECT_EQ(complaint({}), "no verb given" + list);
  EXPECT_EQ(complaint({"--json", "plan", "a"}), "options stand after the verb, got '--json'" + list);
  EXPECT_EQ(complaint({"a\x1b[31m"}), "no verb 'a\\x1b[31m'" + list);
  EXPECT_EQ(complaint({""}), "no verb ''" + list);
}

TEST(CommandLine, AGroupWithoutAVerbOfItsOwnGetsItsVerbs) {
  const std::string list =
      "\nverbs:\n"
      "  data prepare          Turns text into token shards.\n"
      "  data train-tokenizer  Trains a tokenizer (SentencePiece BPE) on text.\n"
      "  data info             Says what files of tokens hold.\n"
      "  data show             Shows what a step reads, decoded.\n"
      "'retain help data VERB' explains a verb";
  EXPECT_EQ(complaint({"data"}), "retain data: no verb given" + list);
  EXPECT_EQ(complaint({"data", "prepaer"}), "no verb 'data prepaer' (did you mean 'data prepare'?)" + list);
  EXPECT_EQ(complaint({"data", "--json"}), "options stand after the verb, got '--json'" + list);
}

TEST(CommandLine, MistakesAreNamed) {
  const std::vector<std::pair<Arguments, std::string>> cases = {
      {{"train"}, "retain train: CONFIG is required"},
      {{"train", "a", "--st", "x=y"}, "retain train: no option '--st' (did you mean '--set'?)"},
      {{"train", "a", "--json"}, "retain train: no option '--json'"},
      {{"train", "a", "b"}, "retain train: there is no place for 'b'; see 'retain train --help'"},
      {{"train", "a", "b", "c d"}, "there is no place for 'b', 'c d'"},
      {{"train", "a", "b", "--set", "-x"}, "there is no place for 'b'"},
      {{"train", "a", "b", "--nope"}, "no option '--nope'"},
      {{"plan", "--ranks", "2"}, "retain plan: CONFIG is required"},
      {{"plan", "a", "--explain", "b"}, "--explain is about a key, not a file"},
      {{"plan", "a", "--gpu", "h20"}, "no GPU 'h20' is known (legal: b200, "},
      {{"plan", "a", "b", "--ranks", "x"}, "there is no place for 'b'"},
      {{"train", "a", "--helpp"}, "did you mean '--help'?"},
      {{"train", "a", "--set"}, "retain train: --set needs a value: KEY=VALUE;"},
      {{"train", "a", "--set", "b=c", "--set"}, "--set needs a value: KEY=VALUE;"},
      {{"train", "a", "--resume"}, "--resume needs a value: auto|never|PATH;"},
      {{"train", "a", "--resume", "x", "--resume", "y"}, "retain train: --resume is given more than once;"},
      {{"train", "a", "--profile", "steps=1..2", "--profile", "steps=1..2"}, "--profile is given more than once;"},
      {{"eval", "c", "--data"}, "--data needs a value: NAME=PATH;"},
      {{"train", "a", "--resume", ""}, "--resume: expected auto, never or a path"},
      {{"train", "a", "--init-from", "x", "--resume", "y"}, "give one of the two"},
      {{"train", "a", "--profile", "10..12"}, "--profile: expected steps=A..B"},
      {{"train", "a", "--profile", "steps=12..10"}, "ends before it begins"},
      {{"train", "a", "--profile", "steps=0..10"}, "--profile"},
      {{"train", "a", "--allow-changed", "model.layers"}, "--allow-changed: 'model.layers' never changes in a run"},
      {{"train", "a", "--allow-changed", "train.batch_tokens"}, "'train.batch_tokens' may change without it"},
      {{"train", "a", "--allow-changed", "x"}, "--allow-changed: expected one of run.seed, data.tokenizer"},
      {{"train", "a", "--allow-changed", "data.content"}, "did you mean 'data.contents'?"},
      {{"train", "a", "--allow-changed", "run.seed,run.seed"}, "'run.seed' is given twice"},
      {{"train", "a", "--allow-changed", "run.seed,,"}, "--allow-changed: expected one of"},
      {{"checkpoint", "verify"}, "PATH is required"},
      {{"checkpoint", "diff", "a"}, "SECOND is required"},
      {{"train", "a", "-x"}, "no option '-x'"},
      {{"plan", "a", "--json", "--json"}, "retain plan: --json is given more than once;"},
      {{"plan", "a", "--json=no"}, "retain plan: --json takes no value;"},
      {{"plan", "a", "--ranks", "0"}, "--ranks: expected 1 to 1000000, got '0'"},
      {{"plan", "a", "--ranks", "two"}, "--ranks: expected a whole number"},
      {{"plan", "a", "--rank", "2"}, "did you mean '--ranks'?"},
      {{"eval", "c"}, "one of --data, --choices, --last-words and --documents is required"},
      {{"eval", "c", "--data", "a=x", "--context", "0"}, "--context: expected 1 to"},
      {{"eval", "c", "--data", "a=x", "--tp", "0"}, "--tp: expected 1 to"},
      {{"eval", "c", "--data", "a"}, "--data: expected NAME=PATH, got 'a'"},
      {{"eval", "c", "--data", "=a"}, "--data: expected NAME=PATH"},
      {{"eval", "c", "--data", "a=x", "--data", "a=y"}, "--data: the name 'a' is given twice"},
      {{"eval", "c", "--data", "a=x", "--mode", "chunk"}, "--mode: expected one of parallel, chunkwise, recurrent"},
      {{"eval", "c", "--data", "a=x", "--tokens", "-1"}, "--tokens: expected 1 to"},
      {{"generate", "c"}, "retain generate: one of --prompt, --prompt-file and --prompts-file is required"},
      {{"generate", "c", "--prompt", "x", "--top-p", "0"}, "--top-p: expected a number above 0"},
      {{"generate", "c", "--prompt", "x", "--top-p", "1.1"}, "--top-p: expected 0 to 1"},
      {{"generate", "c", "--prompt", "x", "--temperature", "nan"}, "--temperature: expected a finite number"},
      {{"generate", "c", "--prompt", "x", "--temperature", "-1"}, "--temperature: expected 0 to"},
      {{"generate", "c", "--prompt", "x", "--max-tokens", "-1"}, "--max-tokens: expected 0 to"},
      {{"generate", "c", "--prompt", "x", "--stop", ""}, "--stop: expected some text"},
      {{"generate", "c", "--prompt", "x", "--min-p", "2"}, "--min-p: expected 0 to 1"},
      {{"data", "prepare", "a"}, "--out is required"},
      {{"data", "prepare", "--out", "a"}, "INPUT is required"},
      {{"data", "prepare", "a", "--out", "b", "--holdout", "100%"}, "--holdout: expected 0 to 99"},
      {{"data", "prepare", "a", "--out", "b", "--threads", "0"}, "--threads: expected 1 to 1024"},
      {{"data", "train-tokenizer", "a", "--out", "b"}, "--vocab is required"},
      {{"data", "train-tokenizer", "a", "--out", "b", "--vocab", "257"}, "--vocab: expected 300 to 1000000"},
      {{"data", "info"}, "PATH is required"},
      {{"bench", "step"}, "CONFIG is required"},
      {{"bench", "generate", "a", "--batch", "1,0"}, "--batch: expected 1 to"},
      {{"bench", "step", "a", "--warmup", "0"}, "--warmup: expected 1 to"},
      {{"bench", "retention", "--seq-len", "1,,2"}, "--seq-len: expected a whole number"},
      {{"bench", "retention", "--key-dim", "7"}, "--key-dim: expected an even number, got '7'"},
      {{"bench", "collectives", "--max-bytes", "1Ki"}, "--max-bytes: expected 65536 to"},
      {{"checkpoint", "export", "r", "--format", "hf"}, "--out is required"},
      {{"checkpoint", "export", "r", "--format", "onnx", "--out", "o"}, "--format: expected one of hf, torchscale"},
      {{"checkpoint", "export", "r", "--format", "hf", "--out", "o", "--dtype", "fp16"},
       "--dtype: expected one of fp32"},
      {{"checkpoint", "export", "r", "--format", "hf", "--out", "o", "--shard-size", "5TB"},
       "--shard-size: expected a whole number"},
      {{"checkpoint", "check", "d", "--device", "gpu"},
       "--device: expected one of auto, cpu, cuda, got 'gpu' (did you mean 'cuda'?)"},
      {{"checkpoint", "check", "d", "--precision", "fp16"}, "--precision: expected one of auto, bf16, fp32, fp64"},
  };
  for (const auto& [arguments, expected] : cases)
    EXPECT_THAT(complaint(arguments), HasSubstr(expected)) << arguments.back();
}

TEST(CommandLine, EveryErrorOfCli11IsSaidInOurWords) {
  CLI::App verb("", "verb");
  std::string text;
  bool flag = false;
  verb.add_option("--text", text)->option_text("TEXT");
  verb.add_flag("--flag", flag);
  const std::string not_understood = "these arguments are not understood";
  const auto said = [&](const CLI::ParseError& error) { return command_line::explain(verb, error); };
  EXPECT_EQ(said(CLI::ArgumentMismatch::TypedAtLeast("--text", 1, "TEXT")), "--text needs a value: TEXT");
  EXPECT_EQ(said(CLI::ArgumentMismatch::AtLeast("--text", 1, 0)), "--text needs a value: TEXT");
  EXPECT_EQ(said(CLI::ArgumentMismatch("--text", 1, 0)), "--text needs a value: TEXT");
  EXPECT_EQ(said(CLI::ArgumentMismatch::FlagOverride("--flag")), "--flag takes no value");
  EXPECT_EQ(said(CLI::ConversionError("x", "--flag")), "--flag takes no value");
  EXPECT_EQ(said(CLI::ConversionError::TrueFalse("--flag")), "--flag takes no value");
  EXPECT_EQ(said(CLI::ConversionError("--text", std::vector<std::string>{"x"})), "--text needs a value: TEXT");
  EXPECT_EQ(said(CLI::ConversionError::TooManyInputsFlag("--flag")), "--flag takes no value");
  EXPECT_EQ(said(CLI::ExcludesError("--text", "--flag")), "--text needs a value: TEXT");
  EXPECT_EQ(said(CLI::RequiresError("x", "y")), not_understood);
  EXPECT_EQ(said(CLI::RequiredError::Subcommand(1)), not_understood);
  EXPECT_EQ(said(CLI::ExtrasError({"x"})), not_understood);  // and nothing remains: see MistakesAreNamed
  EXPECT_EQ(said(CLI::FileError::Missing("x")), not_understood);
  EXPECT_EQ(said(CLI::ConfigError::Extras("x")), not_understood);
  EXPECT_EQ(said(CLI::InvalidError("x")), not_understood);
  EXPECT_EQ(said(CLI::HorribleError("x")), not_understood);
  EXPECT_EQ(said(CLI::RuntimeError(1)), not_understood);
  EXPECT_EQ(said(CLI::CallForHelp()), not_understood);
  EXPECT_EQ(said(CLI::CallForAllHelp()), not_understood);
  EXPECT_EQ(said(CLI::CallForVersion()), not_understood);
  EXPECT_EQ(said(CLI::Success()), not_understood);
  EXPECT_EQ(said(CLI::ValidationError("--text", "expected ours")), "--text: expected ours");
}

}  // namespace
}  // namespace retain
