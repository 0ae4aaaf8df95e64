// The verbs that let a model write: generate, serve.
#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

void real_option(CLI::App& verb, const std::string& name, double& value, double low, double high,
                 const std::string& shown, const std::string& about) {
  read_option(
      verb, name, [&value, low, high](const std::string& text) { value = read_real(text, low, high); }, shown, about);
}

/// A share above 0.
void share_option(CLI::App& verb, const std::string& name, double& value, const std::string& about) {
  const auto read = [&value](const std::string& text) {
    value = read_real(text, 0, 1);
    if (value == 0) refuse_value("expected a number above 0, up to 1, got " + in_quotes(text));
  };
  read_option(verb, name, read, "P", about);
}

void sampling_options(CLI::App& verb, SamplingOptions& o) {
  real_option(verb, "--temperature", o.temperature, 0, 100, "T", "0: always the likeliest token; 1 if not given");
  option(verb, "--top-k", o.top_k, "K", "draw among the K likeliest tokens; 0, all, if not\ngiven")
      ->transform(whole(0, INT64_MAX));
  share_option(verb, "--top-p", o.top_p,
               "draw among the likeliest tokens that have this\nshare together; 1 if not given");
  real_option(verb, "--min-p", o.min_p, 0, 1, "P",
              "draw among tokens at least so likely as this share\nof the likeliest; 0 if not given");
  real_option(verb, "--repetition-penalty", o.repetition_penalty, 0.01, 100, "X",
              "above 1: tokens that the text has become less\nlikely; 1 if not given");
  option(verb, "--seed", o.seed, "S", "of the draws; 1 if not given")->transform(whole(0, INT64_MAX));
}

void check_sources(GenerateOptions& o, int given) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorKind::kUsage, "retain generate: " + what); };
  if (given > 1 || (given == 0 && o.state.empty()))
    refuse("one of --prompt, --prompt-file and --prompts-file is required");
  if (!o.save_state.empty() && !o.prompts_file.empty())
    refuse("--save-state keeps the state of one prompt, and --prompts-file has several");
  if (o.prompt == "-") o.prompt_file = "-";
}

void generate_options(CLI::App& verb, GenerateOptions& o) {
  verb.add_option("CHECKPOINT", o.checkpoint, "a checkpoint, a run (its newest), or an export")->required();
  auto* const prompt = option(verb, "--prompt", o.prompt, "TEXT", "the text to continue; - is standard input");
  auto* const file = option(verb, "--prompt-file", o.prompt_file, "PATH", "a file that holds it, to its last byte");
  auto* const files = option(verb, "--prompts-file", o.prompts_file, "PATH",
                             "a prompt a line, as text or JSON with a \"prompt\";\na line of JSON comes out for each");
  option(verb, "--slots", o.slots, "N", "of these so many are continued at once; 8 if not\ngiven")
      ->transform(whole(1, 65536));
  option(verb, "--max-tokens", o.max_tokens, "N", "at most so many new tokens; 256 if not given")
      ->transform(whole(0, int64_t{1} << 40));
  sampling_options(verb, o.sampling);
  option(verb, "--stop", o.stops, "TEXT", "end before this text; may be repeated")->check([](const std::string& text) {
    return text.empty() ? "expected some text, got ''" : "";
  });
  option(verb, "--save-state", o.save_state, "PATH", "keep what the model remembers of the prompt");
  option(verb, "--state", o.state, "PATH", "go on from there; a prompt is what follows, if any");
  verb.parse_complete_callback([&o, prompt, file, files] {
    check_sources(
        o, static_cast<int>(!prompt->empty()) + static_cast<int>(!file->empty()) + static_cast<int>(!files->empty()));
  });
}

void serve_options(CLI::App& verb, ServeOptions& o) {
  verb.add_option("CHECKPOINT", o.checkpoint, "a checkpoint, a run (its newest), or an export")->required();
  option(verb, "--host", o.host, "ADDRESS", "where to listen; 127.0.0.1 if not given");
  option(verb, "--port", o.port, "N", "8000 if not given; 0: one that is free")->transform(whole(0, 65535));
  option(verb, "--slots", o.slots, "N", "prompts that are continued at once; 8 if not given")
      ->transform(whole(1, 65536));
  option(verb, "--queue", o.queue, "N", "requests that may wait for a slot; 64 if not given")
      ->transform(whole(0, 1'000'000));
  option(verb, "--connections", o.connections, "N", "at once; 1024 if not given")->transform(whole(1, 1'000'000));
  option(verb, "--max-tokens", o.max_tokens, "N", "that a request may ask for; 16384 if not given")
      ->transform(whole(1, int64_t{1} << 40));
  option(verb, "--max-body", o.max_body_bytes, "BYTES", "of a request; 16Mi if not given")
      ->transform(whole(1024, int64_t{1} << 40));
  duration_option(verb, "--drain", o.drain_seconds, "for answers under way when it is told to end; 30s\nif not given");
}

}  // namespace

void add_inference_verbs(CLI::App& root, Command& command) {
  add_verb<GenerateOptions>(root, command, "generate", "Continues a text, token by token, in constant memory.",
                            "  retain generate runs/demo --prompt \"It was\"\n"
                            "  retain generate runs/demo --prompt \"It was\" --temperature 0.8 --top-p 0.9\n"
                            "  head -c 500 book.txt | retain generate runs/demo --prompt -\n"
                            "  retain generate runs/demo --prompts-file book.txt --max-tokens 8\n"
                            "  retain generate runs/demo --prompt-file book.txt --save-state book.state\n"
                            "  retain generate runs/demo --state book.state --prompt \"So\" --stop .\n",
                            generate_options);
  add_verb<ServeOptions>(root, command, "serve", "Serves completions over HTTP: OpenAI's /v1/completions, batched.",
                         "  retain serve runs/demo --port 8000\n"
                         "  retain serve runs/demo --port 8000 --slots 64 --queue 256 --drain 5m\n"
                         "  curl -s http://127.0.0.1:8000/v1/completions -d '{\"prompt\": \"It was\"}'\n",
                         serve_options);
}

}  // namespace retain::command_line
