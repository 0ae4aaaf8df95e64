#include "launch/command_line/options.h"

namespace retain::command_line {

void add_selftest_verb(CLI::App& root, Command& command) {
  add_verb<SelftestOptions>(
      root, command, "selftest",
      "Proves layouts and features here: a tiny model in each of them, beside one rank.\n"
      "Under a launcher its ranks take part, over NCCL on GPUs and MPI on CPUs;\n"
      "alone, threads do. The table has the worst relative difference of losses\n"
      "and gradients.",
      "  retain selftest --ranks 2 --device cpu\n"
      "  mpirun -n 2 retain selftest --json\n",
      [](CLI::App& verb, SelftestOptions& o) {
        option(verb, "--ranks", o.ranks, "N", "threads, on CPUs; 4 if not given")->transform(whole(1, 64));
        device_option(verb, o.device);
        verb.add_flag("--full", o.full, "every combination of features; every pair if not\ngiven");
        json(verb, o.json);
      });
}

}  // namespace retain::command_line
