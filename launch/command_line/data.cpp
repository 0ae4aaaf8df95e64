// The verbs of retain data.
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

/// "5%" or "0.05".
double read_fraction(std::string text) {
  const bool percent = text.ends_with('%');
  if (percent) text.pop_back();
  const double value = read_real(text, 0, percent ? 99 : 0.99);
  return percent ? value / 100 : value;
}

void prepare_options(CLI::App& verb, DataPrepareOptions& o) {
  verb.add_option(
          "INPUT", o.inputs,
          "text files, one document each, or JSONL (.jsonl,\n.ndjson), one document a line; - is standard input")
      ->required();
  option(verb, "--out", o.out, "PREFIX", "prefix of the files that are written")->required();
  option(verb, "--tokenizer", o.tokenizer, "bytes", "how text becomes tokens; bytes if not given")
      ->check(one_of({"bytes"}));
  read_option(
      verb, "--holdout", [&o](const std::string& text) { o.holdout = read_fraction(text); }, "SHARE",
      "keep the last part of the text out of training,\nsuch as 5% or 0.05");
  read_option(
      verb, "--text-key", [&o](const std::string& text) { o.text_key = text; }, "KEY",
      "take all inputs as JSONL, with the text under this\nkey of each line's object; 'text' if not given");
}

}  // namespace

void add_data_verbs(CLI::App& root, Command& command) {
  CLI::App& group = *root.add_subcommand("data");
  add_verb<DataPrepareOptions>(group, command, "prepare", "Turns text into token shards.",
                               "  retain data prepare books/*.txt --out data/books --holdout 5%\n"
                               "  zcat web-*.jsonl.gz | retain data prepare - --out data/web --text-key content\n",
                               prepare_options);
  add_verb<DataInfoOptions>(group, command, "info", "Says what files of tokens hold.",
                            "  retain data info data/books\n"
                            "  retain data info data/books data/story --json\n",
                            [](CLI::App& verb, DataInfoOptions& o) {
                              verb.add_option("PATH", o.paths, "token shards, or prefixes of several")->required();
                              json(verb, o.json);
                            });
}

}  // namespace retain::command_line
