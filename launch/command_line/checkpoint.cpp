// The verbs of retain checkpoint.
#include "launch/command_line/options.h"

#include <array>
#include <string_view>
#include <utility>

namespace retain::command_line {
namespace {

/// "5GB", "512MiB", or bytes.
int64_t read_bytes(const std::string& text) {
  constexpr auto kUnits = std::to_array<std::pair<std::string_view, int64_t>>({{"KiB", int64_t{1} << 10},
                                                                               {"MiB", int64_t{1} << 20},
                                                                               {"GiB", int64_t{1} << 30},
                                                                               {"kB", 1'000},
                                                                               {"MB", 1'000'000},
                                                                               {"GB", 1'000'000'000}});
  constexpr int64_t kMost = 1'000'000;
  for (const auto& [unit, bytes] : kUnits) {
    if (text.ends_with(unit)) return bytes * read_whole(text.substr(0, text.size() - unit.size()), 1, kMost);
  }
  return read_whole(text, 1, int64_t{1} << 50);
}

void add_export(CLI::App& group, Command& command, const std::string& a_step) {
  add_verb<CheckpointExportOptions>(
      group, command, "export", "Writes weights for Hugging Face's fla or for torchscale.",
      "  retain checkpoint export runs/demo --format hf --out demo-hf --dtype bf16\n"
      "  retain checkpoint export runs/demo --format hf --out parts --shard-size 2GB\n",
      [&](CLI::App& verb, CheckpointExportOptions& o) {
        verb.add_option("CHECKPOINT", o.checkpoint, a_step)->required();
        option(verb, "--format", o.format.layout, "NAME", "hf (fla on Hugging Face) or torchscale")
            ->required()
            ->transform(
                one_of(Named<ForeignLayout>{{"hf", ForeignLayout::kFla}, {"torchscale", ForeignLayout::kTorchscale}}));
        option(verb, "--out", o.out, "FOLDER", "where; new, or empty")->required();
        option(verb, "--dtype", o.format.dtype, "fp32|bf16",
               "of the weights; bf16 rounds to nearest even, and\nboth what a float64 run holds")
            ->transform(one_of(Named<DType>{{"fp32", DType::kFloat32}, {"bf16", DType::kBfloat16}}));
        read_option(
            verb, "--shard-size", [&](const std::string& text) { o.format.shard_bytes = read_bytes(text); }, "BYTES",
            "a file takes at most so much; default 5GB");
        json(verb, o.json);
      });
}

void add_import(CLI::App& group, Command& command) {
  add_verb<CheckpointImportOptions>(
      group, command, "import", "Makes a run of weights that fla or torchscale wrote.",
      "  retain checkpoint import demo-hf --out runs/from-hf\n"
      "  retain checkpoint import demo-hf --out runs/theirs --tokenizer bytes\n",
      [](CLI::App& verb, CheckpointImportOptions& o) {
        verb.add_option("FOLDER", o.folder, "with config.json and model.safetensors, or\nits shards and their index")
            ->required();
        option(verb, "--out", o.out, "RUN", "the run's directory; new, or empty")->required();
        option(verb, "--tokenizer", o.tokenizer, "PATH|bytes", "instead of the one whose files are in the folder");
      });
}

}  // namespace

void add_checkpoint_verbs(CLI::App& root, Command& command) {
  const std::string a_step = "a checkpoint, or a run (its newest)";
  CLI::App& group = *root.add_subcommand("checkpoint");
  add_verb<CheckpointListOptions>(group, command, "list", "Lists the checkpoints of a run.",
                                  "  retain checkpoint list runs/demo\n"
                                  "  retain checkpoint list runs/demo --json\n",
                                  [](CLI::App& verb, CheckpointListOptions& o) {
                                    verb.add_option("RUN", o.run, "directory of the run")->required();
                                    json(verb, o.json);
                                  });
  add_verb<CheckpointVerifyOptions>(
      group, command, "verify", "Reads every byte of checkpoints, names what is damaged.",
      "  retain checkpoint verify runs/demo\n"
      "  retain checkpoint verify runs/demo/checkpoints/step-00001024 --json\n",
      [](CLI::App& verb, CheckpointVerifyOptions& o) {
        verb.add_option("PATH", o.path, "a checkpoint, or a run (all of its checkpoints)")->required();
        json(verb, o.json);
      });
  add_verb<CheckpointDigestOptions>(group, command, "digest",
                                    "Hashes a checkpoint; the hash does not depend on the mesh that wrote it.",
                                    "  retain checkpoint digest runs/demo\n"
                                    "  retain checkpoint digest runs/demo/checkpoints/step-00001024 --json\n",
                                    [&](CLI::App& verb, CheckpointDigestOptions& o) {
                                      verb.add_option("PATH", o.path, a_step)->required();
                                      json(verb, o.json, "one JSON document on stdout, with every tensor");
                                    });
  add_verb<CheckpointDiffOptions>(group, command, "diff",
                                  "Says what differs between two checkpoints; exit code 65 if anything does.",
                                  "  retain checkpoint diff runs/demo/checkpoints/step-00001024 runs/demo\n"
                                  "  retain checkpoint diff runs/demo/checkpoints/step-00000768 runs/demo --json\n",
                                  [&](CLI::App& verb, CheckpointDiffOptions& o) {
                                    verb.add_option("FIRST", o.first, a_step)->required();
                                    verb.add_option("SECOND", o.second, a_step)->required();
                                    json(verb, o.json);
                                  });
  add_export(group, command, a_step);
  add_import(group, command);
  add_verb<CheckpointCheckOptions>(
      group, command, "check", "Compares a model's results with golden values.",
      "  retain checkpoint check golden/fla-tiny\n"
      "  retain checkpoint check golden/fla-tiny --device cpu --precision fp64\n",
      [](CLI::App& verb, CheckpointCheckOptions& o) {
        verb.add_option("DIR", o.directory, "folder with config.json, model.safetensors and\ngolden.safetensors")
            ->required();
        device_and_precision(verb, o.device, o.precision);
        json(verb, o.json);
      });
}

}  // namespace retain::command_line
