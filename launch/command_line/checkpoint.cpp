// The verbs of retain checkpoint.
#include "launch/command_line/options.h"

namespace retain::command_line {

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
