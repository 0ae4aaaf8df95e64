// The verbs of retain data.
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

/// "5%" or "0.05".
double read_fraction(std::string text) {
  if (!text.ends_with('%')) return read_real(text, 0, 0.99);
  text.pop_back();
  const double percent = read_real(text, 0, 99);
  // As a decimal number: 0.7% is 0.007, which 0.7 / 100 is not.
  return text.find_first_of("eE") == std::string::npos ? read_real(text + "e-2", 0, 1) : percent / 100;
}

void prepare_options(CLI::App& verb, DataPrepareOptions& o) {
  verb.add_option(
          "INPUT", o.inputs,
          "text files, one document each, or JSONL (.jsonl,\n.ndjson), one document a line; - is standard input")
      ->required();
  option(verb, "--out", o.out, "PREFIX", "prefix of the files that are written")->required();
  option(verb, "--tokenizer", o.tokenizer, "bytes", "how text becomes tokens; bytes if not given")
      ->check([](const std::string& text) {
        read_choice(text, {"bytes"});
        return std::string();
      });
  read_option(
      verb, "--holdout", [&o](const std::string& text) { o.holdout = read_fraction(text); }, "SHARE",
      "keep the last part of the text out of training,\nsuch as 5% or 0.05");
  read_option(
      verb, "--text-key", [&o](const std::string& text) { o.text_key = text; }, "KEY",
      "take all inputs as JSONL, with the text under this\nkey of each line's object; 'text' if not given");
  read_option(
      verb, "--encoding",
      [&o](const std::string& text) {
        if (text.empty()) refuse_value("expected an encoding such as utf-16, got ''");
        o.encoding = text;
      },
      "NAME",
      "of the inputs, UTF-8 if not given; utf-16, latin-1\nand others of iconv are converted, utf-8 may begin\n"
      "with a byte order mark, bytes are taken as such");
  option(verb, "--skip-bad", o.skip_bad, "N", "leave out up to N lines of JSONL that cannot be\nused, and report them")
      ->transform(whole(0, int64_t{1} << 60));
}

}  // namespace

void add_data_verbs(CLI::App& root, Command& command) {
  CLI::App& group = *root.add_subcommand("data");
  add_verb<DataPrepareOptions>(group, command, "prepare", "Turns text into token shards.",
                               "  retain data prepare books/*.txt --out data/books --holdout 5%\n"
                               "  zcat web-*.jsonl.gz | retain data prepare - --out data/web --text-key content\n",
                               prepare_options);
  add_verb<DataInfoOptions>(group, command, "info", "Says what files of tokens hold.",
                            "  retain data info data/books_train\n"
                            "  retain data info data/books_valid data/web --json\n",
                            [](CLI::App& verb, DataInfoOptions& o) {
                              verb.add_option("PATH", o.paths, "token shards, or prefixes of several")->required();
                              json(verb, o.json);
                            });
}

}  // namespace retain::command_line
