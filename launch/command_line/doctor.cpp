#include "launch/command_line/options.h"

namespace retain::command_line {

void add_doctor_verb(CLI::App& root, Command& command) {
  add_verb<DoctorOptions>(
      root, command, "doctor",
      "Looks whether the machines of a launch are fit to train: versions, GPUs,\n"
      "processors, network, disk and limits of all ranks, each beside what it should\n"
      "be and beside the others; with a configuration also what that run needs.\n"
      "A line each, PASS, WARN or FAIL, and what to do. Exit code 69 on FAIL.",
      "  mpirun -n 8 retain doctor run.yaml\n"
      "  retain doctor --json\n",
      [](CLI::App& verb, DoctorOptions& o) {
        config_and_sets(verb, o.config, o.sets);
        verb.get_option("CONFIG")->required(false)->description(
            "the YAML file of the run to come; without,\nthe machines alone, in the present directory");
        device_option(verb, o.device);
        verb.add_flag("--full", o.full, "and the self-test: minutes");
        json(verb, o.json);
      });
}

}  // namespace retain::command_line
