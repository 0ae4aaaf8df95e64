// The verbs of retain data.
#include <optional>
#include <string>

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

void text_options(CLI::App& verb, std::optional<std::string>& text_key, std::string& encoding, int64_t& skip_bad) {
  read_option(
      verb, "--text-key", [&text_key](const std::string& text) { text_key = text; }, "KEY",
      "take all inputs as JSONL, with the text under this\nkey of each line's object; 'text' if not given");
  read_option(
      verb, "--encoding",
      [&encoding](const std::string& text) {
        if (text.empty()) refuse_value("expected an encoding such as utf-16, got ''");
        encoding = text;
      },
      "NAME",
      "of the inputs, UTF-8 if not given; utf-16, latin-1\nand others of iconv are converted, utf-8 may begin\n"
      "with a byte order mark, bytes are taken as such");
  option(verb, "--skip-bad", skip_bad, "N",
         "leave out up to N lines of JSONL, and files found\nin folders, that cannot be used; they are reported")
      ->transform(whole(0, int64_t{1} << 60));
}

void prepare_options(CLI::App& verb, DataPrepareOptions& o) {
  verb.add_option("INPUT", o.inputs,
                  "text files, one document each, or JSONL (.jsonl,\n.ndjson), one document a line; folders, patterns\n"
                  "such as 'corpus/**/*.txt'; - is standard input")
      ->required();
  option(verb, "--out", o.out, "PREFIX", "prefix of the files that are written")->required();
  option(verb, "--tokenizer", o.tokenizer, "PATH",
         "a tokenizer's folder or file: tokenizer.json, or\nvocab.json and merges.txt, of byte-level BPE, or\n"
         "a .model of SentencePiece; bytes if not given");
  read_option(
      verb, "--holdout", [&o](const std::string& text) { o.holdout = read_fraction(text); }, "SHARE",
      "keep the last documents out of training, of such a\nshare of the text: 5% or 0.05");
  text_options(verb, o.text_key, o.encoding, o.skip_bad);
  option(verb, "--threads", o.threads, "N",
         "that encode text, one a processor if not given;\nwhat is written is the same")
      ->transform(whole(1, 1024));
  verb.add_flag("--no-progress", o.no_progress, "no bar at the bottom of a terminal");
}

void train_tokenizer_options(CLI::App& verb, DataTrainTokenizerOptions& o) {
  verb.add_option("INPUT", o.inputs, "text files or JSONL, as for data prepare")->required();
  option(verb, "--vocab", o.vocab_size, "N",
         "tokens in all: bytes take 256, and what is unknown\nand the end of a document one each")
      ->required()
      ->transform(whole(300, 1'000'000));
  option(verb, "--out", o.out, "DIR", "folder for tokenizer.model")->required();
  option(verb, "--sample", o.sample_bytes, "BYTES",
         "of the text, taken evenly from all of it, to train\non; 64Mi if not given")
      ->transform(whole(1, int64_t{1} << 40));
  text_options(verb, o.text_key, o.encoding, o.skip_bad);
}

void show_options(CLI::App& verb, DataShowOptions& o) {
  verb.add_option("RUN", o.run, "the directory of a run, which its steps belong to")->type_name("TEXT");
  option(verb, "--config", o.config, "PATH", "a configuration instead, of a run to come");
  option(verb, "--set", o.sets, "KEY=VALUE", "change one value of --config; may be repeated");
  option(verb, "--step", o.step, "N", "all samples of this step, the first being 1")
      ->transform(whole(1, int64_t{1} << 53));
  option(verb, "--sample", o.sample, "N", "one sample, by its number in the run from 0 on")
      ->transform(whole(0, int64_t{1} << 53));
  option(verb, "--rank", o.rank, "R", "only what this rank reads,")->transform(whole(0, (1 << 20) - 1));
  option(verb, "--ranks", o.ranks, "N", "of so many")->transform(whole(1, 1 << 20));
  json(verb, o.json);
  verb.parse_complete_callback([&o] {
    const auto refuse = [](const std::string& why) { throw Error(ErrorKind::kUsage, "retain data show: " + why); };
    if (o.run.empty() == o.config.empty()) refuse("want a run's directory, or --config with a file");
    if (!o.sets.empty() && o.config.empty()) refuse("--set is for --config: a run's values are known");
    if ((o.step > 0) == (o.sample >= 0)) refuse("want --step or --sample");
    if (o.rank >= 0 && o.sample >= 0) refuse("--rank is for --step");
    if (o.rank >= o.ranks) refuse("--rank is counted from 0, and less than --ranks");
  });
}

}  // namespace

void add_data_verbs(CLI::App& root, Command& command) {
  CLI::App& group = *root.add_subcommand("data");
  add_verb<DataPrepareOptions>(group, command, "prepare", "Turns text into token shards.",
                               "  retain data prepare books/*.txt --out data/books --holdout 5%\n"
                               "  zcat web-*.jsonl.gz | retain data prepare - --out data/web --text-key content\n",
                               prepare_options);
  add_verb<DataTrainTokenizerOptions>(
      group, command, "train-tokenizer", "Trains a tokenizer (SentencePiece BPE) on text.",
      "  retain data train-tokenizer books/*.txt --vocab 32000 --out tokenizers/books\n"
      "  retain data train-tokenizer books/*.txt --vocab 8k --out small --sample 256Mi\n",
      train_tokenizer_options);
  add_verb<DataInfoOptions>(group, command, "info", "Says what files of tokens hold.",
                            "  retain data info data/books_train\n"
                            "  retain data info data/books_valid data/web --json\n",
                            [](CLI::App& verb, DataInfoOptions& o) {
                              verb.add_option("PATH", o.paths, "token shards, or patterns of several")->required();
                              option(verb, "--tokenizer", o.tokenizer, "PATH",
                                     "with which the beginning is decoded; bytes if not\ngiven");
                              json(verb, o.json);
                            });
  add_verb<DataShowOptions>(group, command, "show", "Shows what a step reads, decoded.",
                            "  retain data show runs/demo --step 300\n"
                            "  retain data show --config run.yaml --step 1 --rank 3 --ranks 4 --json\n",
                            show_options);
}

}  // namespace retain::command_line
