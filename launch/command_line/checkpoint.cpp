// The verbs of retain checkpoint.
#include <memory>

#include "launch/command_line/parts.h"

namespace retain::command_line {
namespace {

const char* const kStepHelp = "a checkpoint, or a run (its newest)";

Verb checkpoint_list_verb() {
  Verb verb = make_verb("checkpoint list", "Lists the checkpoints of a run.",
                        "  retain checkpoint list runs/demo\n"
                        "  retain checkpoint list runs/demo --json\n");
  const auto o = std::make_shared<CheckpointListOptions>();
  word(verb, "RUN", o->run, "directory of the run", " ")->required();
  flag(verb, "--json", o->json, "one JSON document on stdout");
  verb.finish = [o]() -> Command { return *o; };
  return verb;
}

Verb checkpoint_verify_verb() {
  Verb verb = make_verb("checkpoint verify", "Reads every byte of checkpoints and names what is damaged.",
                        "  retain checkpoint verify runs/demo\n"
                        "  retain checkpoint verify runs/demo/checkpoints/step-00000512 --json\n");
  const auto o = std::make_shared<CheckpointVerifyOptions>();
  word(verb, "PATH", o->path, "a checkpoint, or a run (all of its checkpoints)", " ")->required();
  flag(verb, "--json", o->json, "one JSON document on stdout");
  verb.finish = [o]() -> Command { return *o; };
  return verb;
}

Verb checkpoint_digest_verb() {
  Verb verb = make_verb("checkpoint digest", "Hashes a checkpoint; the hash does not depend on the mesh that wrote it.",
                        "  retain checkpoint digest runs/demo\n"
                        "  retain checkpoint digest runs/demo/checkpoints/step-00000512 --json\n");
  const auto o = std::make_shared<CheckpointDigestOptions>();
  word(verb, "PATH", o->path, kStepHelp, " ")->required();
  flag(verb, "--json", o->json, "one JSON document on stdout, with every tensor");
  verb.finish = [o]() -> Command { return *o; };
  return verb;
}

Verb checkpoint_diff_verb() {
  Verb verb = make_verb("checkpoint diff", "Says what differs between two checkpoints; exit code 65 if anything does.",
                        "  retain checkpoint diff runs/a runs/b\n"
                        "  retain checkpoint diff runs/a/checkpoints/step-00000010 runs/a --json\n");
  const auto o = std::make_shared<CheckpointDiffOptions>();
  word(verb, "FIRST", o->first, kStepHelp, " ")->required();
  word(verb, "SECOND", o->second, kStepHelp, " ")->required();
  flag(verb, "--json", o->json, "one JSON document on stdout");
  verb.finish = [o]() -> Command { return *o; };
  return verb;
}

Verb checkpoint_check_verb() {
  struct Raw {
    CheckpointCheckOptions o;
    DeviceWords device;
  };
  Verb verb = make_verb("checkpoint check", "Compares a model's results with golden values.",
                        "  retain checkpoint check golden/fla-a\n"
                        "  retain checkpoint check golden/fla-a --device cuda --precision bf16\n");
  const auto raw = std::make_shared<Raw>();
  word(verb, "DIR", raw->o.directory, "folder with config.json, model.safetensors and\ngolden.safetensors", " ")
      ->required();
  device_and_precision(verb, raw->device);
  flag(verb, "--json", raw->o.json, "one JSON document on stdout");
  verb.finish = [raw]() -> Command {
    read_device(raw->device, raw->o.device, raw->o.precision);
    return raw->o;
  };
  return verb;
}

}  // namespace

std::vector<Verb> checkpoint_verbs() {
  std::vector<Verb> verbs;
  for (const auto& make : {checkpoint_list_verb, checkpoint_verify_verb, checkpoint_digest_verb, checkpoint_diff_verb,
                           checkpoint_check_verb})
    verbs.push_back(make());
  return verbs;
}

}  // namespace retain::command_line
