#include "launch/command_line/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <sstream>

#include "kernels/core/error.h"
#include "launch/command_line/options.h"
#include "tests/launch/command_line/parse.h"

namespace retain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The first words of the indented lines below a heading of a help page, in `width` columns.
Arguments listed(const Arguments& arguments, const std::string& heading, size_t width) {
  const std::string page = parse<ShowText>(arguments).text;
  std::istringstream lines(page.substr(page.find("\n" + heading + "\n") + heading.size() + 2));
  Arguments words;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    if (line[2] == ' ') continue;
    words.push_back(line.substr(2, width));
    words.back().erase(words.back().find_last_not_of(' ') + 1);
  }
  return words;
}

Arguments help_of(const std::string& verb) {
  std::istringstream words(verb + " --help");
  return {std::istream_iterator<std::string>(words), {}};
}

/// The verbs as they are written: "train", "data prepare".
Arguments verb_names() { return listed({"--help"}, "Verbs:", 21); }

/// The options of a verb, sorted, without --help.
Arguments option_names(const std::string& verb) {
  Arguments names = listed(help_of(verb), "Options:", 80);
  for (std::string& name : names) name = name.substr(0, name.find(' '));
  std::erase(names, "-h,--help");
  std::sort(names.begin(), names.end());
  return names;
}

TEST(CommandLine, TheVerbsAndOptionsAreTheseAndNoOthers) {
  std::string all;
  for (const std::string& verb : verb_names()) {
    all += verb + ":";
    for (const std::string& option : option_names(verb)) all += " " + option;
    all += "\n";
  }
  EXPECT_EQ(all,
            "train: --allow-changed --init-from --no-progress --profile --resume --set\n"
            "plan: --explain --gpu --json --network --price --ranks,--gpus --ranks-per-node --search --set\n"
            "eval: --carry-documents --choices --context --cp --data --documents --json --last-words --mode --stride "
            "--tokens --tp --words\n"
            "generate: --max-tokens --min-p --prompt --prompt-file --prompts-file --repetition-penalty --save-state "
            "--seed --slots --state --stop --temperature --top-k --top-p\n"
            "serve: --connections --drain --host --max-body --max-tokens --port --queue --slots\n"
            "data prepare: --encoding --holdout --no-progress --out --skip-bad --text-key --threads --tokenizer\n"
            "data train-tokenizer: --encoding --out --sample --skip-bad --text-key --vocab\n"
            "data info: --json --tokenizer\n"
            "data show: --config --json --rank --ranks --sample --set --step\n"
            "checkpoint list: --json\n"
            "checkpoint verify: --json\n"
            "checkpoint digest: --json\n"
            "checkpoint diff: --json\n"
            "checkpoint export: --dtype --format --json --out --shard-size\n"
            "checkpoint import: --out --tokenizer\n"
            "checkpoint check: --device --json --precision\n"
            "launch: --account --dry-run --gpus-per-node --hostfile --json --name --nodes --notice --partition "
            "--ranks-per-node --restarts --scheduler --set --site --supervise --time\n"
            "selftest: --device --full --json --ranks\n"
            "doctor: --device --full --json --set\n"
            "top: --columns --rows --seconds -1,--once\n"
            "plot: --log-x --log-y --out --series --smooth --x\n"
            "study plan: --dry-run --json\n"
            "study run: --account --dry-run --max-jobs --only --partition --runs --scheduler --shared --site --time\n"
            "study status: --json --runs\n"
            "study collect: --out\n"
            "study rates: --seconds\n"
            "study fit: --bootstrap --form --holdout --loss --map --only --out --seed --starts --threads\n"
            "study predict: --flops --json --params --tokens\n"
            "study plot: --out\n"
            "study report:\n"
            "study width: --json --out --set --steps --widths\n"
            "bench gemm: --json --repeats --set --tokens\n"
            "bench retention: --device --heads --json --key-dim --precision --repeats --seq-len --tokens --value-dim\n"
            "bench collectives: --device --json --max-bytes --precision --repeats\n"
            "bench step: --json --set --steps --warmup\n"
            "bench generate: --batch --context --json --set --tokens\n");
}

TEST(CommandLine, Train) {
  const auto o = parse<TrainOptions>({"train", "a.yaml", "--set", "x.y=[1, 2]", "--resume", "never", "--set", "z=w"});
  EXPECT_EQ(o.config, "a.yaml");
  EXPECT_THAT(o.sets, ElementsAre("x.y=[1, 2]", "z=w"));
  EXPECT_EQ(o.resume, "never");
  EXPECT_EQ(parse<TrainOptions>({"train", "a.yaml"}).resume, "auto");
  EXPECT_EQ(parse<TrainOptions>({"train", "--set", "a=b", "a.yaml"}).config, "a.yaml");
  EXPECT_EQ(parse<TrainOptions>({"train", "--resume=runs/x", "a.yaml"}).resume, "runs/x");
}

TEST(CommandLine, TrainMayBeginWithOtherWeightsOrGoOnWithOtherData) {
  const auto o = parse<TrainOptions>(
      {"train", "a.yaml", "--init-from", "runs/x", "--allow-changed", "run.seed,data.contents", "--resume", "never"});
  EXPECT_EQ(o.init_from, "runs/x");
  EXPECT_THAT(o.allow_changed, ElementsAre("run.seed", "data.contents"));
  EXPECT_TRUE(parse<TrainOptions>({"train", "a.yaml"}).init_from.empty());
  EXPECT_TRUE(parse<TrainOptions>({"train", "a.yaml"}).allow_changed.empty());
  EXPECT_FALSE(parse<TrainOptions>({"train", "a.yaml"}).no_progress);
  EXPECT_TRUE(parse<TrainOptions>({"train", "a.yaml", "--no-progress"}).no_progress);
}

TEST(CommandLine, Plan) {
  const auto o = parse<PlanOptions>({"plan", "a.yaml", "--ranks", "1k", "--json", "--set", "a=b"});
  EXPECT_EQ(o.ranks, 1000);
  EXPECT_TRUE(o.json);
  EXPECT_THAT(o.sets, ElementsAre("a=b"));
  EXPECT_EQ(parse<PlanOptions>({"plan", "a.yaml"}).ranks, 0);
  EXPECT_EQ(parse<PlanOptions>({"plan", "a.yaml", "--ranks-per-node", "4"}).ranks_per_node, 4);
}

TEST(CommandLine, Launch) {
  const auto o = parse<LaunchOptions>({"launch", "a.yaml", "--nodes", "2", "--gpus-per-node", "8", "--time", "1d12h",
                                       "--notice", "90s", "--scheduler", "pbs", "--name", "b c"});
  EXPECT_EQ(o.nodes, 2);
  EXPECT_EQ(o.gpus_per_node, 8);
  EXPECT_EQ(o.limit_seconds, 36 * 3600);
  EXPECT_EQ(o.notice_seconds, 90);
  EXPECT_EQ(o.scheduler, Scheduler::kPbs);
  EXPECT_EQ(o.name, "b c");
  EXPECT_EQ(parse<LaunchOptions>({"launch", "a.yaml", "--ranks-per-node", "2", "--supervise"}).scheduler,
            Scheduler::kMpirun);
  const auto refused = [](Arguments more) {
    Arguments all = {"launch", "a.yaml"};
    all.insert(all.end(), more.begin(), more.end());
    return complaint(all);
  };
  EXPECT_THAT(refused({}), HasSubstr("one of --gpus-per-node and --ranks-per-node is required"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--ranks-per-node", "1"}), HasSubstr("one of --gpus-per-node"));
  for (const char* const time : {"24", "24x", "h", "", "-1h", "0s", "99999999d"})
    EXPECT_THAT(refused({"--gpus-per-node", "1", "--time", time}), HasSubstr("expected a time such as 24h"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--time", "4m"}),
              HasSubstr("longer than the 180 s of --notice and 60 s"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--name", "a\nb"}), HasSubstr("one line of text"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--supervise", "--scheduler", "lsf"}),
              HasSubstr("--supervise starts mpirun"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--scheduler", "mpirun", "--time", "1h"}),
              HasSubstr("mpirun starts at once"));
  EXPECT_THAT(refused({"--gpus-per-node", "1", "--hostfile", "x"}), HasSubstr("--hostfile is for --scheduler mpirun"));
}

TEST(CommandLine, Eval) {
  const auto o = parse<EvalOptions>(
      {"eval", "runs/x", "--data", "book=a=b", "--data", "wiki=w", "--mode", "recurrent", "--tokens", "1Mi", "--json"});
  EXPECT_EQ(o.checkpoint, "runs/x");
  ASSERT_EQ(o.data.size(), 2u);
  EXPECT_EQ(o.data[0].name, "book");
  EXPECT_EQ(o.data[0].path, "a=b");
  EXPECT_EQ(o.mode, RetentionForm::kRecurrent);
  EXPECT_EQ(o.tokens, 1 << 20);
  EXPECT_TRUE(o.json);
  EXPECT_EQ(parse<EvalOptions>({"eval", "c", "--data", "a=b"}).mode, RetentionForm::kChunkwise);
  EXPECT_EQ(parse<EvalOptions>({"eval", "c", "--data", "a=b", "--mode", "parallel"}).mode, RetentionForm::kParallel);
  EXPECT_EQ(parse<EvalOptions>({"eval", "--data", "a=b", "c"}).checkpoint, "c");
  const auto w = parse<EvalOptions>({"eval", "c", "--data", "a=b", "--context", "8Ki", "--stride", "1Ki", "--tp", "2",
                                     "--cp", "4", "--carry-documents"});
  EXPECT_EQ(w.context, 8192);
  EXPECT_EQ(w.stride, 1024);
  EXPECT_EQ(w.tp, 2);
  EXPECT_EQ(w.cp, 4);
  EXPECT_TRUE(w.carry_documents);
  const auto t = parse<EvalOptions>({"eval", "c", "--choices", "a", "--choices", "b", "--last-words", "w"});
  EXPECT_EQ(t.choices, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(t.last_words, std::vector<std::string>{"w"});
  EXPECT_EQ(t.tp, 1);
}

TEST(CommandLine, Generate) {
  const auto o = parse<GenerateOptions>(
      {"generate", "c", "--prompt", "train", "--max-tokens", "5",   "--temperature",        "0.8", "--top-p", "0.5",
       "--seed",   "7", "--top-k",  "40",    "--min-p",      "0.1", "--repetition-penalty", "1.2", "--stop",  "a b",
       "--stop",   "\n"});
  EXPECT_EQ(o.prompt, "train");
  EXPECT_EQ(o.max_tokens, 5);
  EXPECT_EQ(o.sampling,
            (SamplingOptions{
                .temperature = 0.8, .top_k = 40, .top_p = 0.5, .min_p = 0.1, .repetition_penalty = 1.2, .seed = 7}));
  EXPECT_THAT(o.stops, ElementsAre("a b", "\n"));
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--prompt", "x", "--max-tokens", "0"}).max_tokens, 0);
}

TEST(CommandLine, AStateStandsForAPromptAndIsKeptOfOne) {
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--state", "s"}).state, "s");
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--state", "s", "--prompts-file", "p"}).prompts_file, "p");
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--prompt", "x", "--save-state", "s"}).save_state, "s");
  EXPECT_THAT(complaint({"generate", "c", "--prompts-file", "p", "--save-state", "s"}),
              HasSubstr("state of one prompt"));
}

TEST(CommandLine, Serve) {
  const auto o =
      parse<ServeOptions>({"serve", "c", "--host", "0.0.0.0", "--port", "0", "--slots", "64", "--queue", "1k",
                           "--connections", "5", "--max-tokens", "4Ki", "--max-body", "1Mi", "--drain", "2m"});
  EXPECT_EQ(o.host, "0.0.0.0");
  EXPECT_EQ(o.port, 0);
  EXPECT_EQ(o.slots, 64);
  EXPECT_EQ(o.queue, 1000);
  EXPECT_EQ(o.connections, 5);
  EXPECT_EQ(o.max_tokens, 4096);
  EXPECT_EQ(o.max_body_bytes, 1 << 20);
  EXPECT_EQ(o.drain_seconds, 120);
  EXPECT_EQ(parse<ServeOptions>({"serve", "c"}).port, 8000);
  EXPECT_THAT(complaint({"serve", "c", "--port", "65536"}), HasSubstr("--port: expected 0 to 65535"));
}

TEST(CommandLine, PromptsAreTakenAsTheyAre) {
  for (const char* text :
       {"", " ", "--", "-x", "--json", "[a,b]", "a,b", "{}", "'q'", "\"q\"", "größe\n", "a=b", "%", "plan"})
    EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--prompt", text}).prompt, text);
}

TEST(CommandLine, LongPromptsComeFromAFileOrStandardInput) {
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--prompt-file", "p.txt"}).prompt_file, "p.txt");
  for (const char* option : {"--prompt", "--prompt-file"})
    EXPECT_EQ(parse<GenerateOptions>({"generate", "c", option, "-"}).prompt_file, "-");
  EXPECT_EQ(parse<GenerateOptions>({"generate", "c", "--prompt", ""}).prompt_file, "");
  EXPECT_THAT(complaint({"generate", "c", "--prompt", "x", "--prompt-file", "p"}),
              HasSubstr("one of --prompt, --prompt-file and"));
}

TEST(CommandLine, DataAndCheckpoint) {
  const auto prepare =
      parse<DataPrepareOptions>({"data", "prepare", "a.txt", "b.txt", "--out", "data/x", "--holdout", "5%", "c.txt"});
  EXPECT_THAT(prepare.inputs, ElementsAre("a.txt", "b.txt", "c.txt"));
  EXPECT_EQ(prepare.out, "data/x");
  EXPECT_EQ(prepare.tokenizer, "bytes");
  EXPECT_EQ(prepare.holdout, 0.05);
  EXPECT_EQ(prepare.text_key, std::nullopt);
  for (const auto& [share, fraction] : std::vector<std::pair<std::string, double>>{
           {"5%", 0.05}, {"0.7%", 0.007}, {"12.5%", 0.125}, {"1.1%", 0.011}, {"1e1%", 0.1}, {"0.07", 0.07}})
    EXPECT_EQ(parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--holdout", share}).holdout, fraction);
  EXPECT_EQ(prepare.encoding, "");
  EXPECT_EQ(prepare.skip_bad, 0);
  EXPECT_EQ(prepare.threads, 0);
  const auto other =
      parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--encoding", "utf-16", "--skip-bad", "1k"});
  EXPECT_EQ(other.encoding, "utf-16");
  EXPECT_EQ(other.skip_bad, 1000);
  EXPECT_EQ(parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--holdout", "0.25"}).holdout, 0.25);
  EXPECT_EQ(parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--text-key", "body"}).text_key, "body");
  EXPECT_THAT(parse<DataPrepareOptions>({"data", "prepare", "--out", "b", "--", "--a"}).inputs, ElementsAre("--a"));
  EXPECT_THAT(parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--", "--a"}).inputs,
              ElementsAre("a", "--a"));
  EXPECT_EQ(parse<DataPrepareOptions>({"data", "prepare", "a", "--out", "b", "--text-key", ""}).text_key, "");
  EXPECT_THAT(parse<DataInfoOptions>({"data", "info", "a", "b"}).paths, ElementsAre("a", "b"));
  EXPECT_TRUE(parse<CheckpointListOptions>({"checkpoint", "list", "r", "--json"}).json);
  EXPECT_TRUE(parse<CheckpointVerifyOptions>({"checkpoint", "verify", "r", "--json"}).json);
  EXPECT_EQ(parse<CheckpointDigestOptions>({"checkpoint", "digest", "r"}).path, "r");
  EXPECT_EQ(parse<CheckpointDiffOptions>({"checkpoint", "diff", "a", "b"}).second, "b");
  const auto out = parse<CheckpointExportOptions>(
      {"checkpoint", "export", "r", "--format", "torchscale", "--out", "o", "--dtype", "bf16", "--shard-size", "2GB"});
  EXPECT_EQ(out.format.layout, ForeignLayout::kTorchscale);
  EXPECT_EQ(out.format.dtype, DType::kBfloat16);
  EXPECT_EQ(out.format.shard_bytes, 2'000'000'000);
  const auto shards_of = [](const std::string& size) {
    return parse<CheckpointExportOptions>(
               {"checkpoint", "export", "r", "--format", "hf", "--out", "o", "--shard-size", size})
        .format.shard_bytes;
  };
  EXPECT_EQ(shards_of("3MiB"), 3 << 20);
  EXPECT_EQ(shards_of("4096"), 4096);
  EXPECT_EQ(parse<CheckpointImportOptions>({"checkpoint", "import", "f", "--out", "r"}).tokenizer, "");
  const auto check =
      parse<CheckpointCheckOptions>({"checkpoint", "check", "d", "--device", "cuda", "--precision", "bf16"});
  EXPECT_EQ(check.directory, "d");
  EXPECT_EQ(check.device, DeviceKind::kCuda);
  EXPECT_EQ(check.precision, Precision::kBf16);
}

TEST(CommandLine, Bench) {
  EXPECT_EQ(parse<BenchGemmOptions>({"bench", "gemm"}).config, "");
  EXPECT_EQ(parse<BenchGemmOptions>({"bench", "gemm", "a.yaml", "--tokens", "4Ki"}).config, "a.yaml");
  EXPECT_EQ(parse<BenchGemmOptions>({"bench", "gemm", "--set", "a=b", "--tokens", "4Ki"}).tokens, 4096);
  const auto retention = parse<BenchRetentionOptions>({"bench", "retention"});
  EXPECT_THAT(retention.seq_lens, ElementsAre(2048, 8192, 32768, 131072));
  ASSERT_EQ(retention.shapes.size(), 2u);
  EXPECT_EQ(retention.shapes[1].heads, 16);
  const auto small = parse<BenchRetentionOptions>({"bench", "retention", "--key-dim", "64", "--seq-len", "1Ki,7"});
  ASSERT_EQ(small.shapes.size(), 1u);
  EXPECT_EQ(small.shapes[0].heads, 8);
  EXPECT_EQ(small.shapes[0].key_dim, 64);
  EXPECT_EQ(small.shapes[0].value_dim, 512);
  EXPECT_THAT(small.seq_lens, ElementsAre(1024, 7));
  EXPECT_EQ(parse<BenchCollectivesOptions>({"bench", "collectives"}).max_bytes, 1 << 30);
  const auto generate = parse<BenchGenerateOptions>({"bench", "generate", "a.yaml", "--batch", "1,9", "--tokens", "7"});
  EXPECT_EQ(generate.batches, (std::vector<int64_t>{1, 9}));
  EXPECT_EQ(generate.contexts.size(), 3U);
  EXPECT_EQ(generate.tokens, 7);
  const auto step = parse<BenchStepOptions>({"bench", "step", "a.yaml", "--steps", "5", "--warmup", "2", "--json"});
  EXPECT_EQ(step.steps, 5);
  EXPECT_EQ(step.warmup, 2);
  const auto selftest = parse<SelftestOptions>({"selftest", "--ranks", "8", "--device", "cpu", "--full", "--json"});
  EXPECT_EQ(selftest.ranks, 8);
  EXPECT_EQ(selftest.device, DeviceKind::kCpu);
  EXPECT_TRUE(selftest.full && selftest.json);
  const auto doctor = parse<DoctorOptions>({"doctor", "a.yaml", "--set", "a=b", "--device", "cpu", "--full", "--json"});
  EXPECT_EQ(doctor.config, "a.yaml");
  EXPECT_THAT(doctor.sets, ElementsAre("a=b"));
  EXPECT_EQ(doctor.device, DeviceKind::kCpu);
  EXPECT_TRUE(doctor.full && doctor.json);
  EXPECT_EQ(parse<DoctorOptions>({"doctor"}).config, "");
}

TEST(CommandLine, AnEmptyValueOfAnOptionWithoutADefaultOfItsOwnIsNotGiven) {
  const auto train = parse<TrainOptions>({"train", "a", "--profile", "", "--allow-changed", "", "--init-from", ""});
  EXPECT_EQ(train.profile.last, 0);
  EXPECT_THAT(train.allow_changed, ElementsAre());
  EXPECT_EQ(parse<EvalOptions>({"eval", "c", "--data", "a=x", "--tokens", ""}).tokens, 0);
  EXPECT_EQ(parse<BenchGemmOptions>({"bench", "gemm", "--tokens", ""}).tokens, 0);
  EXPECT_EQ(parse<BenchRetentionOptions>({"bench", "retention", "--heads", ""}).shapes.size(), 2u);
}

TEST(CommandLine, EveryPathOfEveryVerbIsKnownAsOne) {
  const std::vector<std::pair<Arguments, Arguments>> cases = {
      {{"train", "p", "--init-from", "p"}, {"CONFIG", "--init-from"}},
      {{"train", "p", "--resume", "p"}, {"CONFIG", "--init-from", "--resume"}},
      {{"plan", "p"}, {"CONFIG"}},
      {{"launch", "p", "--ranks-per-node", "1", "--site", "p"}, {"CONFIG", "--site", "--hostfile"}},
      {{"eval", "p", "--data", "a=p", "--data", "b=p"}, {"CHECKPOINT", "--data a", "--data b"}},
      {{"eval", "p", "--choices", "p", "--choices", "p", "--last-words", "p", "--documents", "p"},
       {"CHECKPOINT", "--choices", "--choices", "--last-words", "--documents"}},
      {{"generate", "p", "--prompt-file", "p", "--state", "p", "--save-state", "p"},
       {"CHECKPOINT", "--prompt-file", "--prompts-file", "--state", "--save-state"}},
      {{"serve", "p"}, {"CHECKPOINT"}},
      {{"data", "prepare", "p", "p", "--out", "p"}, {"--out", "INPUT", "INPUT"}},
      {{"data", "prepare", "p", "--out", "p", "--tokenizer", "p"}, {"--out", "--tokenizer", "INPUT"}},
      {{"data", "train-tokenizer", "p", "p", "--out", "p", "--vocab", "1k"}, {"--out", "INPUT", "INPUT"}},
      {{"data", "info", "p", "p"}, {"PATH", "PATH"}},
      {{"data", "info", "p", "--tokenizer", "p"}, {"--tokenizer", "PATH"}},
      {{"data", "show", "p", "--step", "1"}, {"RUN", "--config"}},
      {{"data", "show", "--config", "p", "--step", "1"}, {"RUN", "--config"}},
      {{"checkpoint", "list", "p"}, {"RUN"}},
      {{"checkpoint", "verify", "p"}, {"PATH"}},
      {{"checkpoint", "digest", "p"}, {"PATH"}},
      {{"checkpoint", "diff", "p", "p"}, {"FIRST", "SECOND"}},
      {{"checkpoint", "export", "p", "--format", "hf", "--out", "p"}, {"CHECKPOINT", "--out"}},
      {{"checkpoint", "import", "p", "--out", "p", "--tokenizer", "p"}, {"FOLDER", "--out", "--tokenizer"}},
      {{"checkpoint", "check", "p"}, {"DIR"}},
      {{"bench", "gemm", "p"}, {"CONFIG"}},
      {{"bench", "step", "p"}, {"CONFIG"}},
      {{"bench", "generate", "p"}, {"CONFIG"}},
      {{"doctor", "p"}, {"CONFIG"}},
      {{"top", "p"}, {"RUN"}},
      {{"plot", "p", "--out", "p"}, {"--out", "RUN"}},
      {{"study", "plan", "p"}, {"STUDY"}},
      {{"study", "run", "p", "--runs", "p", "--site", "p"}, {"STUDY", "--runs", "--site"}},
      {{"study", "status", "p", "--runs", "p"}, {"DIR", "--runs"}},
      {{"study", "collect", "p", "--out", "p"}, {"DIR", "--out"}},
      {{"study", "rates", "p"}, {"STUDY"}},
      {{"study", "fit", "p", "--out", "p"}, {"RUNS", "--out"}},
      {{"study", "predict", "p", "--flops", "1"}, {"FIT"}},
      {{"study", "plot", "p", "p", "--out", "p"}, {"RUNS", "FIT", "--out"}},
      {{"study", "report", "p", "p"}, {"RUNS", "FIT"}},
      {{"study", "width", "p", "--out", "p"}, {"CONFIG", "--out"}},
  };
  std::string known;  // "train CONFIG", "eval --data"
  for (const auto& [arguments, options] : cases) {
    Command command = parse_command_line(arguments);
    Arguments named;
    const bool grouped = std::string("data checkpoint bench study").find(arguments[0]) != std::string::npos;
    for (const GivenPath& path : given_paths(command)) {
      named.push_back(path.option);
      known += " " + arguments[0] + (grouped ? " " + arguments[1] : "") + " " +
               path.option.substr(0, path.option.find(' ')) + ";";
      EXPECT_EQ(*path.text, path.text->empty() ? "" : "p") << path.option;
    }
    EXPECT_EQ(named, options);
  }
  for (const std::string& verb : verb_names()) {  // all arguments, and options that take a path by their help
    const std::string page = parse<ShowText>(help_of(verb)).text;
    Arguments paths =
        page.find("\nArguments:\n") == std::string::npos ? Arguments() : listed(help_of(verb), "Arguments:", 80);
    for (const std::string& option : listed(help_of(verb), "Options:", 28))
      if (option.find("PATH") != std::string::npos || option.find("PREFIX") != std::string::npos)
        paths.push_back(option);
    for (const std::string& path : paths)
      EXPECT_THAT(known, HasSubstr(" " + verb + " " + path.substr(0, path.find(' ')) + ";"));
  }
}

TEST(CommandLine, HelpAndVersionAreFoundByTheNamesThatPeopleTry) {
  const std::string root = parse<ShowText>({"--help"}).text, train = parse<ShowText>({"train", "--help"}).text;
  const std::string data = parse<ShowText>({"data", "--help"}).text;
  EXPECT_EQ(parse<ShowText>({"help"}).text, root);
  EXPECT_EQ(parse<ShowText>({"-h"}).text, root);
  EXPECT_EQ(parse<ShowText>({"help", "train"}).text, train);
  EXPECT_EQ(parse<ShowText>({"help", "train", "x.yaml", "--set"}).text, train);
  EXPECT_EQ(parse<ShowText>({"train", "-h"}).text, train);
  EXPECT_EQ(parse<ShowText>({"help", "data"}).text, data);
  EXPECT_EQ(parse<ShowText>({"help", "data", "info"}).text, parse<ShowText>({"data", "info", "-h"}).text);
  EXPECT_THAT(complaint({"help", "trian"}), HasSubstr("no verb 'trian' (did you mean 'train'?)"));
  EXPECT_THAT(complaint({"help", "data", "inof"}), HasSubstr("no verb 'data inof' (did you mean 'data info'?)"));
  for (const char* word : {"--version", "-v", "version"})
    EXPECT_THAT(parse<ShowText>({word}).text, ::testing::StartsWith("retain 0.")) << word;
  EXPECT_EQ(parse<DataInfoOptions>({"data", "info", "help", "version"}).paths.size(), 2u);
}

TEST(CommandLine, HelpWorksAnywhereAtOnce) {
  EXPECT_THAT(parse<ShowText>({"--help"}).text, HasSubstr("Usage: retain VERB"));
  EXPECT_THAT(parse<ShowText>({"trian", "--help"}).text, HasSubstr("Usage: retain VERB"));
  EXPECT_THAT(parse<ShowText>({"--help", "train"}).text, HasSubstr("Usage: retain VERB"));
  EXPECT_THAT(parse<ShowText>({"train", "--nonsense", "--help"}).text, HasSubstr("Usage: retain train CONFIG"));
  EXPECT_THAT(parse<ShowText>({"train", "--version", "x"}).text, HasSubstr("retain 0."));
}

TEST(CommandLine, HelpOfAGroupExplainsItsVerbsAlone) {
  const std::string text = parse<ShowText>({"data", "--help"}).text;
  EXPECT_THAT(text, HasSubstr("Usage: retain data VERB ARGUMENTS [--options]\n\nVerbs:\n"
                              "  data prepare          Turns text into token shards.\n"
                              "  data train-tokenizer  Trains a tokenizer (SentencePiece BPE) on text.\n"
                              "  data info             Says what files of tokens hold.\n"
                              "  data show             Shows what a step reads, decoded.\n\n"));
  EXPECT_THAT(text, HasSubstr("\nretain data VERB --help explains a verb.\n"));
  EXPECT_EQ(parse<ShowText>({"data", "prepaer", "--help"}).text, text);
  for (const char* group : {"checkpoint", "bench", "study"}) {
    const std::string help = parse<ShowText>({group, "--help"}).text;
    for (const std::string& verb : verb_names())
      EXPECT_EQ(help.find("\n  " + verb + " ") != std::string::npos, verb.starts_with(group)) << verb;
  }
}

TEST(CommandLine, HelpFitsAndHoldsExamplesAndExitCodes) {
  std::vector<Arguments> all = {
      {"--help"}, {"data", "--help"}, {"checkpoint", "--help"}, {"bench", "--help"}, {"study", "--help"}};
  for (const std::string& verb : verb_names()) all.push_back(help_of(verb));
  for (const Arguments& arguments : all) {
    const std::string text = parse<ShowText>(arguments).text;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
    EXPECT_THAT(text, HasSubstr("\nExamples:\n  "));
    EXPECT_THAT(text, HasSubstr("78 bad configuration"));
    EXPECT_EQ(text.back(), '\n');
  }
}

TEST(CommandLine, ExamplesInTheHelpAreLegal) {
  for (const std::string& verb : verb_names()) {
    std::istringstream lines(parse<ShowText>(help_of(verb)).text);
    int examples = 0;
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
      if (line == "Examples:") inside = true;
      const size_t at = line.find("retain " + verb + " ");
      if (!inside || at == std::string::npos) continue;
      Arguments arguments;
      std::istringstream in(line.substr(at + 7));
      for (std::string word; in >> word;) arguments.push_back(word);
      if (line.find('"') == std::string::npos) {  // quotes are for the shell
        EXPECT_NO_THROW(parse_command_line(arguments)) << line;
      }
      ++examples;
    }
    EXPECT_GE(examples, 2) << verb;
  }
}

}  // namespace
}  // namespace retain
