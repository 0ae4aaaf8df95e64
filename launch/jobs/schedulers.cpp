#include "launch/jobs/schedulers.h"

#include "kernels/core/error.h"
#include "launch/jobs/shell.h"

namespace retain::jobs {
namespace {

constexpr size_t kLongestCommand = 15;  // bytes of a process's name that Linux keeps

// Again and again: a launcher that is just starting the ranks loses a signal, and to a run any number of them are one.
constexpr const char* kKill = "while kill -USR1 \"$ranks\"; do sleep 5; done >/dev/null 2>&1 &";

// To mpirun such a wish goes by way of a rank, which asks all others: not every mpirun passes signals on.
constexpr const char* kAskRank = "while kill -USR1 \"$(a_rank)\"; do sleep 5; done >/dev/null 2>&1 &";

std::string a_rank(const Job& job) {
  const std::string program = job.site.program.empty() ? job.program : job.site.program;
  const std::string name = program.substr(program.find_last_of('/') + 1).substr(0, kLongestCommand);
  return concat(R"BASH(# A rank on this machine that listens to signals, or else mpirun.
a_rank() {
  local child caught
  for child in $(cat "/proc/$ranks"/task/*/children 2>/dev/null); do
    [ "$(cat "/proc/$child/comm" 2>/dev/null)" = )BASH",
                quote_for_shell(name), R"BASH( ] || continue
    caught=$(sed -n 's/^SigCgt:\s*//p' "/proc/$child/status" 2>/dev/null)
    if (((0x${caught:-0} >> 9) & 1)); then echo "$child" && return; fi
  done
  echo "$ranks"
}
)BASH");
}

// mpirun hands on to other nodes what it is told by name.
constexpr const char* kForward =
    "[ \"$(id -u)\" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
    "forward=()\n"
    "for name in $(compgen -e); do\n"
    "  case $name in NCCL_* | OPENBLAS_* | OMP_* | CUDA_* | LD_LIBRARY_PATH) forward+=(-x \"$name\") ;; esac\n"
    "done\n";

// scancel asks the ranks to end as everybody does who wants the job back; by then it is no longer RUNNING.
constexpr const char* kRequeue = R"BASH(
  if [[ $(scontrol -o show job "$SLURM_JOB_ID") == *JobState=RUNNING* ]]; then
    scontrol requeue "$SLURM_JOB_ID"
  else
    say "Slurm itself ends the job (cancelled, or out of time): not started again"
  fi
)BASH";

/// Elsewhere whoever deletes a job tells its shell so, and a run that runs out of time has ended by itself before.
std::string unless_deleted(const std::string& command) {
  return concat(
      "\n  if [ \"$asked\" = TERM ]; then\n    say \"the scheduler ends the job: not started again\"\n  else\n    ",
      command, "\n  fi\n");
}

/// A value of a directive as one word: schedulers know double quotes and backslashes.
std::string word(const std::string& text) {
  if (text.find_first_of(" \t\"'\\#") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char each : text) quoted += (each == '"' || each == '\\' ? "\\" : "") + std::string(1, each);
  return quoted + "\"";
}

/// "24:00:00"
std::string clock(int64_t seconds) {
  const auto two = [](int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); };
  return concat(two(seconds / 3600), ":", two(seconds / 60 % 60), ":", two(seconds % 60));
}

std::string minutes(int64_t seconds) { return std::to_string((seconds + 59) / 60); }

/// The program and its arguments.
std::string train(const Job& job) {
  std::string line = (job.site.container.empty() ? "" : job.site.container + " ") +
                     quote_for_shell(job.site.program.empty() ? job.program : job.site.program) +
                     " train \"$job.yaml\"";
  for (const std::string& set : job.sets) line += " --set " + quote_for_shell(set);
  // Slurm tells a run when it has to end; elsewhere the run is told here.
  const bool told = job.scheduler == Scheduler::kSlurm || job.limit_seconds == 0;
  return told ? line : concat(line, " --set limits.wall_time=", job.limit_seconds - job.notice_seconds, "s");
}

// TCP notices a machine that is gone 9 s after its last word; without that mpirun waits for it for ever, even when the
// ranks on the others have ended.
constexpr const char* kKeepAlive =
    "--mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3";

std::string mpirun(const Job& job, const std::string& where) {
  std::string options;
  for (const auto& [name, value] : job.site.environment) options += " -x " + name;
  return concat("mpirun -n ", job.nodes * job.ranks_per_node, " ", where, " --bind-to none ", kKeepAlive,
                " \\\n    \"${forward[@]}\"", options, " \\\n    ", train(job), " </dev/null");
}

template <class Value>
void add(std::vector<std::string>& directives, bool wanted, const std::string& option, const Value& value) {
  if (wanted) directives.push_back(concat(option, value));
}

Dialect slurm(const Job& job) {
  Dialect d{.suffix = ".sbatch", .prefix = "#SBATCH "};
  std::string output;  // where % begins a pattern
  for (const char each : job.files) output += (each == '%' ? "%" : "") + std::string(1, each);
  d.directives = {"--job-name=" + word(job.name), concat("--nodes=", job.nodes),
                  concat("--ntasks-per-node=", job.ranks_per_node)};
  add(d.directives, job.gpus, "--gpus-per-node=", job.ranks_per_node);
  add(d.directives, job.limit_seconds > 0, "--time=", minutes(job.limit_seconds));
  add(d.directives, !job.account.empty(), "--account=", word(job.account));
  add(d.directives, !job.partition.empty(), "--partition=", word(job.partition));
  for (const std::string& each :
       {std::string("--requeue"), std::string("--open-mode=append"), concat("--signal=B:USR1@", job.notice_seconds),
        "--output=" + word(output + "-%j.out")})
    d.directives.push_back(each);
  d.prepare = "[ -z \"${SLURM_CPUS_PER_TASK:-}\" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK\n";
  d.start = "srun --mpi=pmix --kill-on-bad-exit=1 \\\n    " + train(job);
  d.ask = kKill;
  d.again = kRequeue;
  return d;
}

Dialect pbs(const Job& job) {
  Dialect d{.suffix = ".pbs", .prefix = "#PBS "};
  d.directives = {"-N " + word(job.name),
                  concat("-l select=", job.nodes, ":ncpus=", job.ranks_per_node, ":mpiprocs=", job.ranks_per_node,
                         job.gpus ? concat(":ngpus=", job.ranks_per_node) : "")};
  add(d.directives, job.limit_seconds > 0, "-l walltime=", clock(job.limit_seconds));
  add(d.directives, !job.account.empty(), "-A ", word(job.account));
  add(d.directives, !job.partition.empty(), "-q ", word(job.partition));
  d.directives.insert(d.directives.end(), {"-r y", "-j oe"});
  d.prepare = concat("exec >>\"$job.out\" 2>&1\n", kForward, a_rank(job));
  d.start = mpirun(job, "--hostfile \"$PBS_NODEFILE\"");
  d.ask = kAskRank;
  d.again = unless_deleted("qsub \"$job.pbs\"");
  return d;
}

Dialect lsf(const Job& job) {
  Dialect d{.suffix = ".lsf", .prefix = "#BSUB "};
  d.directives = {"-J " + word(job.name), concat("-n ", job.nodes * job.ranks_per_node),
                  concat("-R \"span[ptile=", job.ranks_per_node, "]\"")};
  add(d.directives, job.gpus, "-gpu ", concat("\"num=", job.ranks_per_node, "/host\""));
  add(d.directives, job.limit_seconds > 0, "-W ", minutes(job.limit_seconds));
  add(d.directives, !job.account.empty(), "-P ", word(job.account));
  add(d.directives, !job.partition.empty(), "-q ", word(job.partition));
  d.directives.insert(d.directives.end(), {"-r", "-Q 99"});
  d.prepare = concat("exec >>\"$job.out\" 2>&1\n", kForward, a_rank(job));
  d.start = mpirun(job, "--hostfile \"$LSB_DJOB_HOSTFILE\"");
  d.ask = kAskRank;
  d.again = unless_deleted("exit 99");
  return d;
}

Dialect flux(const Job& job) {
  Dialect d{.suffix = ".flux", .prefix = "#flux: "};
  const int ranks = job.nodes * job.ranks_per_node;
  const std::string gpu = job.gpus ? " -g 1" : "";
  d.directives = {"--job-name=" + word(job.name), concat("-N ", job.nodes), concat("-n ", ranks, gpu)};
  add(d.directives, job.limit_seconds > 0, "-t ", concat(minutes(job.limit_seconds), "m"));
  add(d.directives, !job.account.empty(), "--bank=", word(job.account));
  add(d.directives, !job.partition.empty(), "--queue=", word(job.partition));
  d.prepare = "exec >>\"$job.out\" 2>&1\n";
  d.start = concat("flux run -N ", job.nodes, " -n ", ranks, gpu, " -o pmi=pmix \\\n    ", train(job));
  d.ask = "flux job kill -s USR1 \"$(flux job last)\"";
  d.again = unless_deleted("flux --parent batch \"$job.flux\"");
  return d;
}

Dialect by_hand(const Job& job) {
  std::string hosts;
  for (const std::string& host : job.hosts) hosts += concat(hosts.empty() ? "" : ",", host, ":", job.ranks_per_node);
  Dialect d{.suffix = ".sh"};
  d.prepare =
      concat(kForward, a_rank(job), "set -m  # Ctrl-C reaches this script alone, which asks the ranks to save\n");
  d.start = mpirun(job, "-H " + quote_for_shell(hosts));
  d.ask = kAskRank;
  return d;
}

}  // namespace

Dialect dialect_of(const Job& job) {
  switch (job.scheduler) {
    case Scheduler::kSlurm: return slurm(job);
    case Scheduler::kPbs: return pbs(job);
    case Scheduler::kLsf: return lsf(job);
    case Scheduler::kFlux: return flux(job);
    case Scheduler::kMpirun: return by_hand(job);
  }
  throw Error(ErrorKind::kInternal, "no such scheduler");
}

}  // namespace retain::jobs
