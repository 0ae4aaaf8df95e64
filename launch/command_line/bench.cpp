// The verbs of retain bench.
#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

void repeats(CLI::App& verb, int& value) {
  option(verb, "--repeats", value, "N", "times of which the median counts; 20 if not\ngiven")
      ->transform(whole(1, 100'000));
}

std::vector<int64_t> read_lengths(const std::string& text, int64_t most = int64_t{1} << 30) {
  std::vector<int64_t> lengths;
  for (const std::string& piece : split_at_commas(text + ",")) lengths.push_back(read_whole(piece, 1, most));
  return lengths;
}

void retention_options(CLI::App& verb, BenchRetentionOptions& o) {
  option(verb, "--tokens", o.tokens, "N", "tokens that times are given for; 65536 if not\ngiven")
      ->transform(whole(1, int64_t{1} << 30));
  read_option(
      verb, "--seq-len", [&o](const std::string& text) { o.seq_lens = read_lengths(text); }, "N,N,...",
      "tokens of a sequence;\n2048,8192,32768,131072 if not given");
  const auto head = std::make_shared<HeadShape>();
  const auto part = [&](const std::string& name, int64_t HeadShape::*member, const std::string& about) {
    const auto read = [&o, head, member](const std::string& text) {
      if (text.empty()) return;
      (*head).*member = read_whole(text, 1, 4096);
      if (head->key_dim % 2 != 0) refuse_value("expected an even number, got " + in_quotes(text));
      o.shapes = {*head};
    };
    read_option(verb, name, read, "N", about);
  };
  part("--heads", &HeadShape::heads, "without this and the next two: 8 heads of\n256/512 and 16 of 128/256");
  part("--key-dim", &HeadShape::key_dim, "key width of a head; 256 if not given");
  part("--value-dim", &HeadShape::value_dim, "value width of a head; 512 if not given");
  device_and_precision(verb, o.device, o.precision);
  repeats(verb, o.repeats);
  json(verb, o.json);
}

}  // namespace

void add_bench_verbs(CLI::App& root, Command& command) {
  CLI::App& group = *root.add_subcommand("bench");
  add_verb<BenchGemmOptions>(group, command, "gemm", "Measures the matrix products of a model's step.",
                             "  retain bench gemm configs/demo.yaml --tokens 4Ki\n"
                             "  retain bench gemm configs/demo.yaml --set parallel.tp=2 --json\n",
                             [](CLI::App& verb, BenchGemmOptions& o) {
                               config_and_sets(verb, o.config, o.sets);
                               verb.get_option("CONFIG")->required(false)->description(
                                   "a YAML file; a model of 1.4 B parameters if\nnot given");
                               tokens_option(verb, o.tokens, int64_t{1} << 30, "rows; a micro-batch if not given");
                               repeats(verb, o.repeats);
                               json(verb, o.json);
                             });
  add_verb<BenchRetentionOptions>(group, command, "retention", "Measures retention alone, beside its floor.",
                                  "  retain bench retention --tokens 1Ki --seq-len 256,1Ki --heads 2\n"
                                  "  retain bench retention --tokens 1Ki --seq-len 1Ki --repeats 3 --json\n",
                                  retention_options);
  add_verb<BenchCollectivesOptions>(group, command, "collectives", "Measures what ranks exchange, under a launcher.",
                                    "  mpirun -n 2 retain bench collectives --max-bytes 1Mi\n"
                                    "  mpirun -n 4 retain bench collectives --max-bytes 64Ki --device cpu\n",
                                    [](CLI::App& verb, BenchCollectivesOptions& o) {
                                      option(verb, "--max-bytes", o.max_bytes, "N",
                                             "64 KiB, then four times as much, up to this; 1Gi\nif not given")
                                          ->transform(whole(65536, int64_t{1} << 36));
                                      device_and_precision(verb, o.device, o.precision);
                                      repeats(verb, o.repeats);
                                      json(verb, o.json);
                                    });
  add_verb<BenchStepOptions>(
      group, command, "step", "Measures training on random tokens; keeps no file.",
      "  retain bench step configs/demo.yaml --set train.batch_tokens=2Ki\n"
      "  mpirun -n 2 retain bench step configs/demo.yaml --set parallel.cp=2\n",
      [](CLI::App& verb, BenchStepOptions& o) {
        config_and_sets(verb, o.config, o.sets);
        option(verb, "--steps", o.steps, "N", "steps that count; 20 if not given")->transform(whole(1, 100'000));
        option(verb, "--warmup", o.warmup, "N", "steps before them; 3 if not given")->transform(whole(1, 100'000));
        json(verb, o.json);
      });
  add_verb<BenchGenerateOptions>(
      group, command, "generate", "Measures decoding with random weights, beside its bound.",
      "  retain bench generate configs/demo.yaml --batch 1,4 --context 1Ki\n"
      "  retain bench generate configs/demo.yaml --batch 2 --tokens 16 --json\n",
      [](CLI::App& verb, BenchGenerateOptions& o) {
        config_and_sets(verb, o.config, o.sets);
        read_option(
            verb, "--batch", [&o](const std::string& text) { o.batches = read_lengths(text, 65'535); }, "N,N,...",
            "sequences side by side; 1,64,256 if not given");
        read_option(
            verb, "--context", [&o](const std::string& text) { o.contexts = read_lengths(text); }, "N,N,...",
            "tokens that they have already;\n1024,65536,1048576 if not given");
        option(verb, "--tokens", o.tokens, "N", "of each sequence that count; 128 if not given")
            ->transform(whole(1, 100'000));
        json(verb, o.json);
      });
}

}  // namespace retain::command_line
