#include "launch/command_line/command_line.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/core/text.h"
#include "launch/command_line/parts.h"
#include "launch/config/suggest.h"

namespace retain {

using namespace command_line;

namespace {

using Arguments = std::vector<std::string>;

const char* const kExitCodes =
    "Exit codes:\n"
    "  0 done               64 usage              65 bad data, checkpoint\n"
    "  66 missing input     69 GPU, NCCL or MPI   70 hang, internal error\n"
    "  71 out of memory     73 cannot create      74 input/output, disk full\n"
    "  75 run me again      76 diverged           78 bad configuration\n";

/// "5%" or "0.05".
double read_fraction(const std::string& option, std::string text) {
  const bool percent = text.ends_with('%');
  if (percent) text.pop_back();
  const double value = read_number(option, text, 0, percent ? 99 : 0.99);
  return percent ? value / 100 : value;
}

NamedPath read_named_path(const std::string& option, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    usage_error(concat(option, ": expected NAME=PATH, got ", in_quotes(text)));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// "steps=10..12", counted from 1.
StepRange read_steps(const std::string& option, const std::string& text) {
  const std::string key = "steps=";
  const size_t dots = text.find("..");
  if (!text.starts_with(key) || dots == std::string::npos)
    usage_error(concat(option, ": expected steps=A..B, such as steps=10..12, got ", in_quotes(text)));
  const auto step = [&](const std::string& number) {
    const double value = read_number(option, number, 1, 1e15);
    if (value != std::floor(value)) usage_error(concat(option, ": ", in_quotes(number), " is no step"));
    return static_cast<int64_t>(value);
  };
  const StepRange range{step(text.substr(key.size(), dots - key.size())), step(text.substr(dots + 2))};
  if (range.first > range.last) usage_error(concat(option, ": ", in_quotes(text), " ends before it begins"));
  return range;
}

Verb train_verb() {
  Verb verb = make_verb("train", "Trains a model; the same command again resumes the run.",
                        "  retain train configs/demo.yaml\n"
                        "  mpirun -n 4 retain train configs/demo.yaml --set parallel.tp=2\n");
  struct Raw {
    TrainOptions o;
    std::string allow_changed;
    std::string profile;
  };
  const auto raw = std::make_shared<Raw>();
  TrainOptions* const o = &raw->o;
  config_and_sets(verb, o->config, o->sets);
  word(verb, "--resume", o->resume,
       "auto: from the newest checkpoint of the run, if\nany; never: from the start; or a path", "auto|never|PATH");
  word(verb, "--init-from", o->init_from,
       "a run that starts anew begins with the weights of\nthis checkpoint or run; no step, no moments", "PATH");
  word(verb, "--allow-changed", raw->allow_changed,
       "go on although these differ from the\ncheckpoint's: run.seed or keys of data, such as\ndata.fingerprint",
       "KEY,KEY");
  word(verb, "--profile", raw->profile,
       "steps that a waiting profiler records (CUDA\nprofiler API), such as steps=10..12", "steps=A..B");
  verb.finish = [raw]() -> Command {
    TrainOptions& o = raw->o;
    if (!raw->profile.empty()) o.profile = read_steps("--profile", raw->profile);
    if (o.resume.empty()) usage_error("--resume: expected auto, never or a path, got ''");
    if (!o.init_from.empty() && o.resume != "auto" && o.resume != "never")
      usage_error("--init-from begins a run and --resume PATH continues one: give one of the two");
    o.allow_changed = read_words("--allow-changed", raw->allow_changed, changeable_keys());
    return o;
  };
  return verb;
}

Verb plan_verb() {
  struct Raw {
    PlanOptions o;
    std::string ranks = "1";
  };
  Verb verb = make_verb("plan", "Says what a run will cost before it starts: parameters, FLOPs, memory, layout.",
                        "  retain plan configs/retnet_1.3b.yaml --ranks 8\n"
                        "  retain plan configs/demo.yaml --json\n");
  const auto raw = std::make_shared<Raw>();
  config_and_sets(verb, raw->o.config, raw->o.sets);
  word(verb, "--ranks", raw->ranks, "ranks of the run; 1 if not given", "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    raw->o.ranks = static_cast<int>(read_count("--ranks", raw->ranks, 1, 1'000'000));
    return raw->o;
  };
  return verb;
}

Verb eval_verb() {
  struct Raw {
    EvalOptions o;
    std::vector<std::string> data;
    std::string mode = "chunkwise", tokens;
  };
  Verb verb = make_verb("eval", "Evaluates a checkpoint: loss, perplexity, bits per byte.",
                        "  retain eval runs/demo --data valid=data/valid\n"
                        "  retain eval runs/demo --data book=data/book --mode recurrent --json\n");
  const auto raw = std::make_shared<Raw>();
  word(verb, "CHECKPOINT", raw->o.checkpoint, "a checkpoint, or a run (its newest)", " ")->required();
  words(verb, "--data", raw->data, "a set of tokens and its name; may be repeated", "NAME=PATH")->required();
  word(verb, "--mode", raw->mode, "form of retention; all three agree", "parallel|chunkwise|recurrent");
  word(verb, "--tokens", raw->tokens, "of each set, rounded up to whole windows; all if\nnot given", "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    for (const std::string& text : raw->data) {
      const NamedPath added = read_named_path("--data", text);
      for (const NamedPath& known : raw->o.data)
        if (known.name == added.name) usage_error("--data: the name " + in_quotes(added.name) + " is given twice");
      raw->o.data.push_back(added);
    }
    raw->o.mode = static_cast<RetentionForm>(read_choice("--mode", raw->mode, {"parallel", "chunkwise", "recurrent"}));
    if (!raw->tokens.empty()) raw->o.tokens = read_count("--tokens", raw->tokens, 1, int64_t{1} << 60);
    return raw->o;
  };
  return verb;
}

Verb generate_verb() {
  struct Raw {
    GenerateOptions o;
    std::string max_tokens = "256", temperature = "1", top_p = "1", seed = "1";
  };
  Verb verb = make_verb("generate", "Continues a text, token by token, in constant memory.",
                        "  retain generate runs/demo --prompt \"It was\"\n"
                        "  retain generate runs/demo --prompt \"It was\" --temperature 0.8 --top-p 0.9\n");
  const auto raw = std::make_shared<Raw>();
  word(verb, "CHECKPOINT", raw->o.checkpoint, "a checkpoint, or a run (its newest)", " ")->required();
  word(verb, "--prompt", raw->o.prompt, "the text to continue", "TEXT")->required();
  word(verb, "--max-tokens", raw->max_tokens, "at most so many new tokens; 256 if not given", "N");
  word(verb, "--temperature", raw->temperature, "0: always the likeliest token; 1 if not given", "T");
  word(verb, "--top-p", raw->top_p, "draw among the likeliest tokens that have this\nshare together; 1 if not given",
       "P");
  word(verb, "--seed", raw->seed, "of the draws; 1 if not given", "S");
  verb.finish = [raw]() -> Command {
    raw->o.max_tokens = read_count("--max-tokens", raw->max_tokens, 1, int64_t{1} << 40);
    raw->o.temperature = read_number("--temperature", raw->temperature, 0, 100);
    raw->o.top_p = read_number("--top-p", raw->top_p, 0, 1);
    raw->o.seed = static_cast<uint64_t>(read_count("--seed", raw->seed, 0, INT64_MAX));
    if (raw->o.top_p == 0) usage_error("--top-p: expected a number above 0, up to 1, got " + in_quotes(raw->top_p));
    return raw->o;
  };
  return verb;
}

Verb data_prepare_verb() {
  struct Raw {
    DataPrepareOptions o;
    std::string holdout = "0", text_key;
  };
  Verb verb = make_verb("data prepare", "Turns text into token shards.",
                        "  retain data prepare books/*.txt --out data/books --holdout 5%\n"
                        "  zcat web-*.jsonl.gz | retain data prepare - --out data/web --text-key content\n");
  const auto raw = std::make_shared<Raw>();
  words(verb, "INPUT", raw->o.inputs,
        "text files, one document each, or JSONL (.jsonl,\n.ndjson), one document a line; - is standard input", " ")
      ->required();
  word(verb, "--out", raw->o.out, "prefix of the files that are written", "PREFIX")->required();
  word(verb, "--tokenizer", raw->o.tokenizer, "how text becomes tokens; bytes if not given", "bytes");
  word(verb, "--holdout", raw->holdout, "keep the last part of the text out of training,\nsuch as 5% or 0.05", "SHARE");
  CLI::Option* const text_key =
      word(verb, "--text-key", raw->text_key,
           "take all inputs as JSONL, with the text under this\nkey of each line's object; 'text' if not given", "KEY");
  verb.finish = [raw, text_key]() -> Command {
    read_choice("--tokenizer", raw->o.tokenizer, {"bytes"});
    if (text_key->count() > 0) raw->o.text_key = raw->text_key;
    raw->o.holdout = read_fraction("--holdout", raw->holdout);
    return raw->o;
  };
  return verb;
}

Verb data_info_verb() {
  Verb verb = make_verb("data info", "Says what files of tokens hold.",
                        "  retain data info data/books\n"
                        "  retain data info data/books data/story --json\n");
  const auto o = std::make_shared<DataInfoOptions>();
  words(verb, "PATH", o->paths, "token shards, or prefixes of several", " ")->required();
  flag(verb, "--json", o->json, "one JSON document on stdout");
  verb.finish = [o]() -> Command { return *o; };
  return verb;
}

std::vector<Verb> make_verbs() {
  std::vector<Verb> verbs;
  for (const auto& make : {train_verb, plan_verb, eval_verb, generate_verb, data_prepare_verb, data_info_verb})
    verbs.push_back(make());
  for (Verb& verb : checkpoint_verbs()) verbs.push_back(std::move(verb));
  for (Verb& verb : bench_verbs()) verbs.push_back(std::move(verb));
  return verbs;
}

// ---- help ----

std::string listed(const std::vector<Verb>& verbs) {
  std::string text;
  for (const Verb& verb : verbs) text += (text.empty() ? "" : ", ") + verb.name;
  return text;
}

std::string help_of(const Verb& verb) {
  std::string usage = "Usage: retain " + verb.name;
  std::string arguments, options;
  const auto line = [](std::string left, const std::string& about) {
    constexpr size_t kAboutColumn = 30;
    left = "  " + left + "  ";
    left.resize(std::max(left.size(), kAboutColumn), ' ');
    std::string text = left.size() > kAboutColumn ? left + "\n" + std::string(kAboutColumn, ' ') : left;
    for (char c : about) text += c == '\n' ? "\n" + std::string(kAboutColumn, ' ') : std::string(1, c);
    return text + "\n";
  };
  for (const CLI::Option* option : verb.app->get_options()) {
    const bool many = option->get_expected_max() > 1;
    if (option->get_positional()) {
      const std::string name = option->get_name(true) + (many ? "..." : "");
      usage += option->get_required() ? " " + name : " [" + name + "]";
      arguments += line(option->get_name(true), option->get_description());
    } else {
      const std::string value = option->get_expected_max() > 0 ? " " + option->get_option_text() : "";
      if (option->get_required()) usage += " " + option->get_name() + value;
      options += line(option->get_name() + value, option->get_description());
    }
  }
  options += line("--help", "this text");
  return verb.app->get_description() + "\n\n" + usage + " [options]\n\n" +
         (arguments.empty() ? "" : "Arguments:\n" + arguments + "\n") + "Options:\n" + options + "\nExamples:\n" +
         verb.examples + "\n" + kExitCodes;
}

/// One line for each verb that begins with `prefix`: all with "", those of a group with "data ".
std::string lines_of(const std::vector<Verb>& verbs, const std::string& prefix) {
  std::string text;
  for (const Verb& verb : verbs) {
    if (!verb.name.starts_with(prefix)) continue;
    std::string left = "\n  " + verb.name;
    left.resize(21, ' ');
    const std::string purpose = verb.app->get_description();
    text += left + purpose.substr(0, purpose.find_first_of(":;")) +
            (purpose.find_first_of(":;") < purpose.size() ? "." : "");
  }
  return text;
}

std::string help_of_group(const std::vector<Verb>& verbs, const std::string& group) {
  std::string examples;
  for (const Verb& verb : verbs)
    if (verb.name.starts_with(group + " ")) examples += verb.examples.substr(0, verb.examples.find('\n') + 1);
  return "Usage: retain " + group + " VERB ARGUMENTS [--options]\n\nVerbs:" + lines_of(verbs, group + " ") +
         "\n\nretain " + group + " VERB --help explains a verb.\n\nExamples:\n" + examples + "\n" + kExitCodes;
}

std::string help_of(const std::vector<Verb>& verbs) {
  return "Trains retentive networks (RetNet) on one CPU, one GPU, or many nodes.\n\n"
         "Usage: retain VERB [SUBVERB] ARGUMENTS [--options]\n\nVerbs:" +
         lines_of(verbs, "") +
         "\n\nretain VERB --help explains a verb; retain --version prints the version.\n"
         "The result goes to stdout, the talk to stderr.\n\nExamples:\n"
         "  retain train configs/demo.yaml\n"
         "  retain plan configs/retnet_1.3b.yaml --ranks 8\n\n" +
         kExitCodes;
}

// ---- parsing ----

/// The verb that the first words name, and how many words that are. Words of a verb precede all options.
std::pair<const Verb*, size_t> find_verb(const std::vector<Verb>& verbs, const Arguments& arguments) {
  for (const Verb& verb : verbs) {
    const size_t blank = verb.name.find(' ');
    if (arguments.empty() || arguments[0] != verb.name.substr(0, blank)) continue;
    if (blank == std::string::npos) return {&verb, 1};
    if (arguments.size() > 1 && arguments[1] == verb.name.substr(blank + 1)) return {&verb, 2};
  }
  return {nullptr, 0};
}

/// Whether the first word names a group of verbs, such as "data".
bool names_group(const std::vector<Verb>& verbs, const Arguments& arguments) {
  return !arguments.empty() && std::any_of(verbs.begin(), verbs.end(),
                                           [&](const Verb& verb) { return verb.name.starts_with(arguments[0] + " "); });
}

[[noreturn]] void fail_verb(const std::vector<Verb>& verbs, const Arguments& arguments) {
  const bool is_group = names_group(verbs, arguments);
  const std::string list = is_group ? "\nverbs:" + lines_of(verbs, arguments[0] + " ") : "\nverbs: " + listed(verbs);
  if (arguments.empty()) usage_error("no verb given" + list);
  if (is_group && arguments.size() == 1) usage_error("retain " + arguments[0] + ": no verb given" + list);
  const std::string& wrong = arguments[is_group ? 1 : 0];
  if (wrong.starts_with('-')) usage_error("options stand after the verb, got " + in_quotes(wrong) + list);
  const std::string asked = is_group ? arguments[0] + " " + arguments[1] : arguments[0];
  std::vector<std::string> names, groups;
  for (const Verb& verb : verbs) {
    names.push_back(verb.name);
    groups.push_back(verb.name.substr(0, verb.name.find(' ')));
  }
  const std::string nearest = nearest_word(asked, is_group ? names : groups);
  usage_error("no verb " + in_quotes(asked) + (nearest.empty() ? "" : " (did you mean '" + nearest + "'?)") + list);
}

/// What CLI11 says, with a suggestion for an option that does not exist.
[[noreturn]] void fail_options(const Verb& verb, const Arguments& arguments, const CLI::ParseError& error) {
  std::string message = error.what();
  std::vector<std::string> known;
  for (const CLI::Option* option : verb.app->get_options())
    if (!option->get_positional()) known.push_back(option->get_name());
  if (dynamic_cast<const CLI::ExtrasError*>(&error)) {
    for (const std::string& argument : arguments) {
      const std::string option = argument.substr(0, argument.find('='));
      if (!option.starts_with("-") || std::find(known.begin(), known.end(), option) != known.end()) continue;
      const std::string nearest = nearest_word(option, known);
      message = "no option " + in_quotes(option) + (nearest.empty() ? "" : " (did you mean '" + nearest + "'?)");
      break;
    }
  }
  usage_error("retain " + verb.name + ": " + escape_controls(message) + "; see 'retain " + verb.name + " --help'");
}

}  // namespace

Command parse_command_line(const Arguments& arguments) {
  const std::vector<Verb> verbs = make_verbs();
  const auto [verb, words] = find_verb(verbs, arguments);
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  if (std::find(arguments.begin(), end, "--help") != end) {
    if (verb) return ShowText{help_of(*verb)};
    return ShowText{names_group(verbs, arguments) ? help_of_group(verbs, arguments[0]) : help_of(verbs)};
  }
  if (std::find(arguments.begin(), end, "--version") != end) return ShowText{"retain " RETAIN_VERSION "\n"};
  if (!verb) fail_verb(verbs, arguments);

  Arguments rest(arguments.rbegin(),
                 arguments.rend() - static_cast<std::ptrdiff_t>(words));  // CLI11 wants them reversed
  try {
    verb->app->parse(rest);
  } catch (const CLI::ParseError& error) {
    fail_options(*verb, {arguments.begin() + static_cast<std::ptrdiff_t>(words), arguments.end()}, error);
  }
  return verb->finish();
}

std::vector<std::string> changeable_keys() {
  return {"run.seed", "data.fingerprint", "data.tokenizer", "data.seq_len", "data.reset_state_at_documents"};
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : make_verbs()) names.push_back(verb.name);
  return names;
}

std::vector<std::string> option_names(const std::string& name) {
  std::vector<std::string> names;
  for (const Verb& verb : make_verbs())
    if (verb.name == name)
      for (const CLI::Option* option : verb.app->get_options())
        if (!option->get_positional()) names.push_back(option->get_name());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace retain
