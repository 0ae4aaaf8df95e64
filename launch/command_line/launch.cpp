#include <algorithm>
#include <cstdint>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

constexpr int64_t kMostRanks = 1'000'000;
constexpr int64_t kSlack = 60;  // seconds: sbatch(1), --signal

Named<Scheduler> named_schedulers() {
  return {{"slurm", Scheduler::kSlurm},
          {"mpirun", Scheduler::kMpirun},
          {"pbs", Scheduler::kPbs},
          {"lsf", Scheduler::kLsf},
          {"flux", Scheduler::kFlux}};
}

void check_together(LaunchOptions& o, bool scheduler_given) {
  const auto refuse = [](const std::string& why) { throw Error(ErrorKind::kUsage, "retain launch: " + why); };
  if ((o.gpus_per_node > 0) == (o.ranks_per_node > 0))
    refuse("one of --gpus-per-node and --ranks-per-node is required");
  if (o.supervise && scheduler_given && o.scheduler != Scheduler::kMpirun)
    refuse("--supervise starts mpirun; a job that a scheduler runs comes back by itself");
  if (o.supervise) o.scheduler = Scheduler::kMpirun;
  if (!o.hostfile.empty() && o.scheduler != Scheduler::kMpirun)
    refuse("--hostfile is for --scheduler mpirun; other schedulers choose the nodes");
  if (o.scheduler == Scheduler::kMpirun && (o.limit_seconds > 0 || !o.account.empty() || !o.partition.empty()))
    refuse("--time, --account and --partition are for a scheduler that has them; mpirun starts at once");
  if (o.limit_seconds > 0 && o.limit_seconds <= o.notice_seconds + kSlack)
    refuse(concat("--time is to be longer than the ", o.notice_seconds, " s of --notice and ", kSlack,
                  " s by which Slurm may be early"));
}

void launch_options(CLI::App& verb, LaunchOptions& o) {
  config_and_sets(verb, o.config, o.sets);
  auto* const scheduler = option(verb, "--scheduler", o.scheduler, "slurm|mpirun|pbs|lsf|flux", "slurm if not given");
  scheduler->transform(one_of(named_schedulers()));
  option(verb, "--nodes", o.nodes, "N", "1 if not given; mpirun: all hosts")->transform(whole(1, kMostRanks));
  option(verb, "--gpus-per-node", o.gpus_per_node, "G", "a rank on each of G GPUs of a node")
      ->transform(whole(1, 1024));
  option(verb, "--ranks-per-node", o.ranks_per_node, "R", "or R ranks without GPUs")->transform(whole(1, 1024));
  duration_option(verb, "--time", o.limit_seconds, "the job's limit, such as 24h, 90m or 1d12h");
  duration_option(verb, "--notice", o.notice_seconds, "so long before the limit it saves and ends; 3m if\nnot given");
  option(verb, "--name", o.name, "TEXT", "of the job; the run directory's if not given")->transform(one_line());
  option(verb, "--account", o.account, "TEXT", "who pays")->transform(one_line());
  option(verb, "--partition", o.partition, "TEXT", "or queue")->transform(one_line());
  option(verb, "--site", o.site, "PATH", "modules, container, environment, directives and\nsetup of this cluster");
  option(verb, "--hostfile", o.hostfile, "PATH", "a host a line; Slurm's nodes or this machine if\nnot given");
  option(verb, "--restarts", o.restarts, "R", "after failures; 3 if not given")->transform(whole(0, 1000));
  verb.add_flag("--supervise", o.supervise,
                "stay, and start again after a death or a hang, on\nthe nodes that are left; R times in a row without\n"
                "a new checkpoint");
  verb.add_flag("--dry-run", o.dry_run, "print the job, write and start nothing");
  json(verb, o.json, "the job's number and file as JSON on stdout");
  verb.parse_complete_callback([&o, scheduler] { check_together(o, !scheduler->empty()); });
}

}  // namespace

void add_launch_verb(CLI::App& root, Command& command) {
  add_verb<LaunchOptions>(root, command, "launch",
                          "Writes a job that trains and submits it: it saves before its time is over,\n"
                          "comes back, and goes on.",
                          "  retain launch run.yaml --nodes 2 --gpus-per-node 8 --time 24h --dry-run\n"
                          "  retain launch run.yaml --supervise --hostfile hosts --gpus-per-node 8\n",
                          launch_options);
}

}  // namespace retain::command_line
