// The verbs of a model: train, plan, eval.
#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/command_line/options.h"
#include "launch/config/schema.h"
#include "trainer/plan/gpu.h"

namespace retain::command_line {
namespace {

NamedPath read_named_path(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    refuse_value("expected NAME=PATH, got " + in_quotes(text));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// "steps=10..12", counted from 1.
StepRange read_steps(const std::string& text) {
  const std::string key = "steps=";
  const size_t dots = text.find("..");
  if (!text.starts_with(key) || dots == std::string::npos)
    refuse_value("expected steps=A..B, such as steps=10..12, got " + in_quotes(text));
  const auto step = [](const std::string& number) {
    const double value = read_real(number, 1, 1e15);
    if (value != std::floor(value)) refuse_value(in_quotes(number) + " is no step");
    return static_cast<int64_t>(value);
  };
  const StepRange range{step(text.substr(key.size(), dots - key.size())), step(text.substr(dots + 2))};
  if (range.first > range.last) refuse_value(in_quotes(text) + " ends before it begins");
  return range;
}

/// Refuses keys that need no permission, or get none.
void check_changeable(const std::string& key) {
  for (const auto& [known, about] : run_keys(Config())) {
    if (key != known || about.resume == Resume::kIfAllowed) continue;
    refuse_value(in_quotes(key) +
                 (about.resume == Resume::kMayDiffer ? " may change without it" : " never changes in a run"));
  }
  read_choice(key, changeable_keys());
}

Names read_changeable_keys(const std::string& text) {
  Names keys;
  for (const std::string& key : split_at_commas(text)) {
    check_changeable(key);
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) refuse_value(in_quotes(key) + " is given twice");
    keys.push_back(key);
  }
  return keys;
}

void train_options(CLI::App& verb, TrainOptions& o) {
  config_and_sets(verb, o.config, o.sets);
  option(verb, "--resume", o.resume, "auto|never|PATH",
         "auto: from the newest checkpoint of the run, if\nany; never: from the start; or a path")
      ->check([](const std::string& text) { return text.empty() ? "expected auto, never or a path, got ''" : ""; });
  option(verb, "--init-from", o.init_from, "PATH",
         "a run that starts anew begins with the weights of\nthis checkpoint or run; no step, no moments");
  read_option(
      verb, "--allow-changed", [&o](const std::string& text) { o.allow_changed = read_changeable_keys(text); },
      "KEY,KEY", "go on although these differ from the\ncheckpoint's: see below");
  read_option(
      verb, "--profile",
      [&o](const std::string& text) {
        if (!text.empty()) o.profile = read_steps(text);
      },
      "steps=A..B", "steps that a waiting profiler records (CUDA\nprofiler API), such as steps=10..12");
  verb.add_flag("--no-progress", o.no_progress, "no bar at the bottom of a terminal");
  verb.parse_complete_callback([&o] {
    if (!o.init_from.empty() && o.resume != "auto" && o.resume != "never")
      throw Error(ErrorKind::kUsage, "--init-from begins a run and --resume PATH continues one: give one of the two");
  });
}

Named<RetentionForm> named_forms() {
  return {{"parallel", RetentionForm::kParallel},
          {"chunkwise", RetentionForm::kChunkwise},
          {"recurrent", RetentionForm::kRecurrent}};
}

void plan_options(CLI::App& verb, PlanOptions& o) {
  config_and_sets(verb, o.config, o.sets, false);
  option(verb, "--ranks,--gpus", o.ranks, "N",
         "ranks of the run, each with a GPU or on CPUs; the\nlauncher's if not given")
      ->transform(whole(1, 1'000'000));
  option(verb, "--ranks-per-node", o.ranks_per_node, "N",
         "ranks of one machine; as the launcher put them,\nor 8, if not given")
      ->transform(whole(1, 1'000'000));
  read_option(
      verb, "--gpu",
      [&o](const std::string& text) {
        if (!text.empty()) o.gpu = predicted_gpu(text).name;
      },
      "NAME", "for this GPU, wherever it is asked: h100, h200,\na100, b200, …; also predicts time and energy");
  verb.add_flag("--search", o.search, "the legal layouts, the fastest that fit first")
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw)
      ->disable_flag_override();
  const auto network = [&o](const std::string& text) {
    if (!text.empty()) o.network_gbits = read_real(text, 0.001, 1e6);
  };
  read_option(verb, "--network", network, "GBIT/S", "of each GPU to other machines; 400 if not given");
  const auto price = [&o](const std::string& text) {
    if (!text.empty()) o.price = read_real(text, 0, 1e9);
  };
  read_option(verb, "--price", price, "X", "of a GPU for an hour, in any currency");
  option(verb, "--explain", o.explain, "KEY",
         "of a configuration, or a section of it: type,\ndefault, unit, range and why, and no plan");
  json(verb, o.json);
  verb.parse_complete_callback([&o] {
    if (o.config.empty() && o.explain.empty()) throw Error(ErrorKind::kUsage, "retain plan: CONFIG is required");
    if (!o.config.empty() && !o.explain.empty())
      throw Error(ErrorKind::kUsage, "retain plan: --explain is about a key, not a file: give one of the two");
  });
}

void window_options(CLI::App& verb, EvalOptions& o) {
  constexpr int64_t kMost = int64_t{1} << 30;
  option(verb, "--context", o.context, "N",
         "tokens of a window, the state carried through it;\nas trained if not given")
      ->transform(whole(1, kMost));
  option(verb, "--stride", o.stride, "M",
         "windows begin M tokens apart, and of each but the\nfirst the last M targets count")
      ->transform(whole(1, kMost));
  verb.add_flag("--carry-documents", o.carry_documents, "keep the state where a document begins")
      ->multi_option_policy(CLI::MultiOptionPolicy::Throw)
      ->disable_flag_override();
}

/// Below the options.
std::string task_lines() {
  return "Lines of --choices, known by their keys:\n"
         "  {\"context\": \"…\", \"choices\": [\"…\", \"…\"], \"label\": 0}\n"
         "  or those of HellaSwag, PIQA and ARC; a blank stands before each choice\n"
         "Lines of --last-words and --documents: {\"text\": \"…\"}\n";
}

void check_eval(const EvalOptions& o) {
  const auto refuse = [](const std::string& problem) { throw Error(ErrorKind::kUsage, problem); };
  if (o.data.empty() && o.choices.empty() && o.last_words.empty() && o.documents.empty())
    refuse("retain eval: one of --data, --choices, --last-words and --documents is required");
  for (const auto& [name, count] : o.words) {
    const auto named = [&wanted = name](const NamedPath& data) { return data.name == wanted; };
    if (std::ranges::none_of(o.data, named)) refuse("--words names " + in_quotes(name) + ", and no --data does");
    if (o.tokens > 0) refuse("--words counts those of a whole set, and --tokens takes a part");
  }
}

void eval_options(CLI::App& verb, EvalOptions& o) {
  verb.add_option("CHECKPOINT", o.checkpoint, "a checkpoint, a run (its newest), or an export")->required();
  const auto add = [&o](const std::string& text) {
    const NamedPath added = read_named_path(text);
    for (const NamedPath& known : o.data)
      if (known.name == added.name) refuse_value("the name " + in_quotes(added.name) + " is given twice");
    o.data.push_back(added);
  };
  read_option(verb, "--data", add, "NAME=PATH", "a set of tokens and its name; may be repeated")->take_all();
  option(verb, "--choices", o.choices, "PATH",
         "questions as JSONL, answered by the likeliest of\ntheir choices; may be repeated");
  option(verb, "--last-words", o.last_words, "PATH", "texts as JSONL, whose last words are foretold; may\nbe repeated");
  option(verb, "--documents", o.documents, "PATH",
         "texts as JSONL, for the perplexity of their words\nand bytes, each from its start; may be repeated");
  option(verb, "--mode", o.mode, "parallel|chunkwise|recurrent", "form of retention; all three agree")
      ->transform(one_of(named_forms()));
  window_options(verb, o);
  const auto add_words = [&o](const std::string& text) {
    const NamedPath count = read_named_path(text);
    if (!o.words.emplace(count.name, read_whole(count.path, 1, int64_t{1} << 60)).second)
      refuse_value("the name " + in_quotes(count.name) + " is given twice");
  };
  read_option(verb, "--words", add_words, "NAME=N",
              "words of a set's text, for its perplexity by word;\nmay be repeated")
      ->take_all();
  tokens_option(verb, o.tokens, int64_t{1} << 60, "of each set, rounded up to whole windows; all if\nnot given");
  option(verb, "--tp", o.tp, "N", "neighbouring ranks share heads and columns; 1 if\nnot given")
      ->transform(whole(1, 1'000'000));
  option(verb, "--cp", o.cp, "N", "ranks share each sequence; 1 if not given")->transform(whole(1, 1'000'000));
  json(verb, o.json);
  verb.parse_complete_callback([&o] { check_eval(o); });
}

}  // namespace

void add_model_verbs(CLI::App& root, Command& command) {
  add_verb<TrainOptions>(root, command, "train", "Trains a model; the same command again resumes the run.",
                         "  retain train configs/demo.yaml\n"
                         "  mpirun -n 4 retain train configs/demo.yaml --set parallel.tp=2\n\n" +
                             resume_table(),
                         train_options);
  add_verb<PlanOptions>(root, command, "plan",
                        "Says what a run will cost before it starts: parameters, FLOPs, memory, layout.",
                        "  retain plan configs/retnet_1.3b.yaml --ranks 8\n"
                        "  retain plan configs/retnet_6.7b.yaml --gpu h100 --search --gpus 64 --price 2.5\n"
                        "  retain plan --explain train.recompute\n",
                        plan_options);
  add_verb<EvalOptions>(root, command, "eval", "Evaluates a checkpoint: loss, perplexity, public tasks.",
                        "  retain eval runs/demo --data valid=runs/demo/data/text_valid\n"
                        "  retain eval runs/demo --data book=data/books_valid --mode recurrent --json\n"
                        "  retain eval runs/demo --data book=data/books_valid --context 4Ki --stride 1Ki\n"
                        "  mpirun -n 4 retain eval runs/demo --data book=data/books_valid --tp 2\n"
                        "  retain eval runs/demo --choices piqa.jsonl --last-words lambada.jsonl\n\n" +
                            task_lines(),
                        eval_options);
}

}  // namespace retain::command_line
