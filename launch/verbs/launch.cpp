// retain launch: writes a job, keeps it in the run directory, and submits it or watches over it.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/core/text.h"
#include "launch/config/reader.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/nodes.h"
#include "launch/jobs/process.h"
#include "launch/jobs/supervisor.h"
#include "launch/verbs/verbs.h"
#include "parallel/placement.h"
#include "trainer/plan/plan.h"

namespace retain {

namespace {

constexpr std::chrono::seconds kPatienceForANode{20};

void say(const std::string& line) { fmt::print(stderr, "retain launch: {}\n", line); }

int per_node(const LaunchOptions& options) { return std::max(options.gpus_per_node, options.ranks_per_node); }

/// The mesh, what a rank needs, and what is odd about where ranks come to stand.
void tell_plan(const ParsedConfig& parsed, const LaunchOptions& options, int nodes) {
  const int ranks = nodes * per_node(options);
  const Target target = resolve_target(parsed.config, options.gpus_per_node > 0, 1);
  const RunPlan plan = make_plan(parsed.config, ranks, target);
  say(fmt::format("{}: nodes {}, {} {}; memory a rank {:.1f} GiB", plan.mesh.describe(), nodes,
                  options.gpus_per_node > 0 ? "GPUs a node" : "ranks a node", per_node(options),
                  static_cast<double>(plan.needed_bytes()) / (1 << 30)));
  std::vector<std::string> hosts;
  for (int rank = 0; rank < ranks; ++rank) hosts.push_back(fmt::format("node {}", rank / per_node(options) + 1));
  const std::string warning = place_ranks(plan.mesh, hosts).warning(most_tensor_parallel(parsed.config.model));
  if (!warning.empty()) say(warning);
  for (const std::string& doubt : parsed.doubts) say(doubt);
}

/// This program, by a path that other nodes know too.
std::string own_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

Job describe_job(const LaunchOptions& options, const Config& config, int nodes, const std::string& files) {
  const std::string name = std::filesystem::path(config.run.dir).filename().string();
  return {.scheduler = options.scheduler,
          .name = options.name.empty() ? name : options.name,
          .run = config.run.dir,
          .files = files,
          .nodes = nodes,
          .ranks_per_node = per_node(options),
          .gpus = options.gpus_per_node > 0,
          .limit_seconds = options.limit_seconds,
          .notice_seconds = options.notice_seconds,
          .account = options.account,
          .partition = options.partition,
          .restarts = options.restarts,
          .program = own_path(),
          .site = options.site.empty() ? Site{} : read_site(options.site)};
}

/// Hands a file to the scheduler; what it refuses leaves no job behind.
int submit(const LaunchOptions& options, const Job& job, const std::string& file) {
  const std::vector<std::string> command = submit_command(options.scheduler, file);
  std::string answer;
  if (const int code = run_command(command, answer); code != 0) {
    for (const std::string& name : {file, job.files + ".yaml"}) std::filesystem::remove(name);
    throw Error(ErrorKind::kDevice,
                concat(command[0], " did not take the job (exit ", code, "): ", escape_controls(answer)));
  }
  const std::string id = job_id_of(answer);
  if (options.json)
    std::cout << nlohmann::ordered_json{{"schema", 1}, {"job", id}, {"file", file}}.dump(2) << "\n";
  else
    fmt::print("job {}: {}\n", id, file);
  return 0;
}

/// The job on as many of these hosts as the layout allows.
Job fit_to(const std::vector<std::string>& hosts, const Job& wanted, Config config) {
  Job job = wanted;
  if (std::ssize(hosts) < wanted.nodes) {
    config.parallel.dp = 0;
    job.sets = {"parallel.dp=auto"};
  }
  job.nodes = static_cast<int>(std::min(std::ssize(hosts), std::ptrdiff_t{wanted.nodes}));
  while (job.nodes > 0 && !validate(config, job.nodes * job.ranks_per_node).empty()) --job.nodes;
  if (job.nodes == 0)
    throw Error(ErrorKind::kDevice, concat("no layout of this configuration fits the ", hosts.size(), " of ",
                                           wanted.nodes, " nodes that answer: set parallel.tp and parallel.cp lower"));
  job.hosts.assign(hosts.begin(), hosts.begin() + job.nodes);
  return job;
}

/// Writes the job of each life, where it is another than that of the one before.
class Lives {
 public:
  /// wanted: on all hosts.
  Lives(Job wanted, const ParsedConfig& parsed, std::vector<std::string> hosts)
      : wanted_(std::move(wanted)), parsed_(parsed), hosts_(std::move(hosts)), folder_(parsed.config.run.dir) {}

  Job first() const { return fit_to(hosts_, wanted_, parsed_.config); }

  std::vector<std::string> next_command() {
    Job next = fit_to(answering(), wanted_, parsed_.config);
    if (next.hosts != started_on_) {
      next.files = folder_.next();
      file_ = folder_.keep(next, parsed_.resolved);
      started_on_ = next.hosts;
    }
    return submit_command(Scheduler::kMpirun, file_);
  }

 private:
  std::vector<std::string> answering() const {
    if (hosts_.size() == 1) return hosts_;
    std::vector<std::string> here = hosts_that_answer(hosts_, kPatienceForANode);
    for (int more = 0; more < wanted_.restarts && here.empty(); ++more) {
      say("no node answers: they are tried again");
      here = hosts_that_answer(hosts_, kPatienceForANode);
    }
    for (const std::string& host : hosts_)
      if (std::ranges::find(here, host) == here.end()) say("without " + host + ", which does not answer");
    return here;
  }

  Job wanted_;
  const ParsedConfig& parsed_;
  std::vector<std::string> hosts_, started_on_;
  JobFolder folder_;
  std::string file_;
};

int start_here(const LaunchOptions& options, const Job& wanted, const ParsedConfig& parsed,
               std::vector<std::string> hosts) {
  hosts.resize(static_cast<size_t>(wanted.nodes));
  Lives lives(wanted, parsed, std::move(hosts));
  if (options.dry_run) {
    std::cout << job_text(lives.first());
    return 0;
  }
  return supervise({.directory = parsed.config.run.dir,
                    .next_command = [&] { return lives.next_command(); },
                    .restarts = options.supervise ? options.restarts : 0});
}

}  // namespace

int launch(const LaunchOptions& options) {
  const bool here = options.scheduler == Scheduler::kMpirun;
  const std::vector<std::string> hosts = here ? find_hosts(options.hostfile) : std::vector<std::string>();
  const int nodes = options.nodes > 0 ? options.nodes : std::max(static_cast<int>(hosts.size()), 1);
  if (here && nodes > std::ssize(hosts))
    throw Error(ErrorKind::kUsage, concat("--nodes ", nodes, ", but there are ", hosts.size(), " hosts"));
  const ParsedConfig parsed = load_config(options.config, options.sets, nodes * per_node(options));
  if (options.gpus_per_node > 0 && parsed.config.device == DeviceKind::kCpu)
    throw Error(ErrorKind::kUsage, "device: cpu takes no GPUs: --ranks-per-node instead of --gpus-per-node");
  tell_plan(parsed, options, nodes);
  const JobFolder folder(parsed.config.run.dir);
  const Job job = describe_job(options, parsed.config, nodes, folder.next());
  if (here) return start_here(options, job, parsed, hosts);
  if (options.dry_run) {
    std::cout << job_text(job);
    return 0;
  }
  return submit(options, job, folder.keep(job, parsed.resolved));
}

}  // namespace retain
