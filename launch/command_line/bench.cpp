// The verbs of retain bench.
#include <memory>

#include "kernels/core/text.h"
#include "launch/command_line/parts.h"

namespace retain::command_line {
namespace {

const char* const kRepeatsHelp = "times of which the median counts; 20 if not\ngiven";

int read_repeats(const std::string& option, const std::string& text) {
  return static_cast<int>(read_count(option, text, 1, 100'000));
}

Verb bench_gemm_verb() {
  struct Raw {
    BenchGemmOptions o;
    std::string tokens, repeats = "20";
  };
  Verb verb = make_verb("bench gemm", "Measures the matrix products of a model's step.",
                        "  retain bench gemm --tokens 16Ki\n"
                        "  retain bench gemm configs/retnet_6.7b.yaml --set parallel.tp=2 --json\n");
  const auto raw = std::make_shared<Raw>();
  config_and_sets(verb, raw->o.config, raw->o.sets);
  verb.app->get_option("CONFIG")->required(false)->description(
      "a YAML file; a model of 1.4 B parameters if\nnot given");
  word(verb, "--tokens", raw->tokens, "rows; a micro-batch if not given", "N");
  word(verb, "--repeats", raw->repeats, kRepeatsHelp, "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    if (!raw->tokens.empty()) raw->o.tokens = read_count("--tokens", raw->tokens, 1, int64_t{1} << 30);
    raw->o.repeats = read_repeats("--repeats", raw->repeats);
    return raw->o;
  };
  return verb;
}

Verb bench_retention_verb() {
  struct Raw {
    BenchRetentionOptions o;
    std::string tokens = "65536", seq_lens = "2048,8192,32768,131072", heads, key_dim, value_dim, repeats = "20";
    DeviceWords device;
  };
  Verb verb = make_verb("bench retention", "Measures retention alone, beside its floor.",
                        "  retain bench retention --json\n"
                        "  retain bench retention --tokens 4Ki --seq-len 512,4Ki --heads 4\n");
  const auto raw = std::make_shared<Raw>();
  word(verb, "--tokens", raw->tokens, "tokens that times are given for; 65536 if not\ngiven", "N");
  word(verb, "--seq-len", raw->seq_lens, "tokens of a sequence;\n2048,8192,32768,131072 if not given", "N,N,...");
  word(verb, "--heads", raw->heads, "without this and the next two: 8 heads of\n256/512 and 16 of 128/256", "N");
  word(verb, "--key-dim", raw->key_dim, "key width of a head; 256 if not given", "N");
  word(verb, "--value-dim", raw->value_dim, "value width of a head; 512 if not given", "N");
  device_and_precision(verb, raw->device);
  word(verb, "--repeats", raw->repeats, kRepeatsHelp, "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    BenchRetentionOptions& o = raw->o;
    o.tokens = read_count("--tokens", raw->tokens, 1, int64_t{1} << 30);
    o.seq_lens = read_counts("--seq-len", raw->seq_lens, 1, int64_t{1} << 30);
    HeadShape shape;
    const auto read = [](const char* option, const std::string& text, int64_t& value) {
      if (!text.empty()) value = read_count(option, text, 1, 4096);
      return !text.empty();
    };
    const bool heads = read("--heads", raw->heads, shape.heads), keys = read("--key-dim", raw->key_dim, shape.key_dim);
    if (read("--value-dim", raw->value_dim, shape.value_dim) || heads || keys) o.shapes = {shape};
    if (shape.key_dim % 2 != 0) usage_error("--key-dim: expected an even number, got " + in_quotes(raw->key_dim));
    read_device(raw->device, o.device, o.precision);
    o.repeats = read_repeats("--repeats", raw->repeats);
    return o;
  };
  return verb;
}

Verb bench_collectives_verb() {
  struct Raw {
    BenchCollectivesOptions o;
    std::string max_bytes = "1Gi", repeats = "20";
    DeviceWords device;
  };
  Verb verb = make_verb("bench collectives", "Measures what ranks exchange, under a launcher.",
                        "  mpirun -n 2 retain bench collectives --max-bytes 1Gi\n"
                        "  mpirun -n 4 retain bench collectives --max-bytes 64Mi --device cpu\n");
  const auto raw = std::make_shared<Raw>();
  word(verb, "--max-bytes", raw->max_bytes, "64 KiB, then four times as much, up to this; 1Gi\nif not given", "N");
  device_and_precision(verb, raw->device);
  word(verb, "--repeats", raw->repeats, kRepeatsHelp, "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    raw->o.max_bytes = read_count("--max-bytes", raw->max_bytes, 65536, int64_t{1} << 36);
    read_device(raw->device, raw->o.device, raw->o.precision);
    raw->o.repeats = read_repeats("--repeats", raw->repeats);
    return raw->o;
  };
  return verb;
}

Verb bench_step_verb() {
  struct Raw {
    BenchStepOptions o;
    std::string steps = "20", warmup = "3";
  };
  Verb verb = make_verb("bench step", "Measures training on random tokens; keeps no file.",
                        "  retain bench step configs/demo.yaml --set train.batch_tokens=2Ki\n"
                        "  mpirun -n 2 retain bench step configs/demo.yaml --set parallel.cp=2\n");
  const auto raw = std::make_shared<Raw>();
  config_and_sets(verb, raw->o.config, raw->o.sets);
  word(verb, "--steps", raw->steps, "steps that count; 20 if not given", "N");
  word(verb, "--warmup", raw->warmup, "steps before them; 3 if not given", "N");
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    raw->o.steps = read_repeats("--steps", raw->steps);
    raw->o.warmup = read_repeats("--warmup", raw->warmup);
    return raw->o;
  };
  return verb;
}

}  // namespace

std::vector<Verb> bench_verbs() {
  std::vector<Verb> verbs;
  for (const auto& make : {bench_gemm_verb, bench_retention_verb, bench_collectives_verb, bench_step_verb})
    verbs.push_back(make());
  return verbs;
}

}  // namespace retain::command_line
