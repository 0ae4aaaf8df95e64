#include "launch/jobs/nodes.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <sstream>
#include <thread>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/jobs/process.h"
#include "trainer/file.h"

namespace retain {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLargestHostfile = int64_t{1} << 20;  // bytes
constexpr std::chrono::milliseconds kBetweenLooks{20};

}  // namespace

std::vector<std::string> hosts_in(const std::string& hostfile) {
  std::vector<std::string> hosts;
  std::istringstream lines(hostfile);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string host;
    if (words >> host && std::ranges::find(hosts, host) == hosts.end()) hosts.push_back(host);
  }
  return hosts;
}

std::vector<std::string> find_hosts(const std::string& hostfile) {
  std::string text = "localhost";
  const char* const allocation = std::getenv("SLURM_JOB_NODELIST");
  if (!hostfile.empty()) {
    text = read_text(File::open_input(hostfile), kLargestHostfile);
  } else if (allocation && run_command({"scontrol", "show", "hostnames", allocation}, text) != 0) {
    throw Error(ErrorKind::kDevice, concat("scontrol does not say which nodes ", in_quotes(allocation), " are"));
  }
  const std::vector<std::string> hosts = hosts_in(text);
  if (hosts.empty()) throw Error(ErrorKind::kUsage, concat("--hostfile: no hosts in ", in_quotes(hostfile)));
  return hosts;
}

std::vector<std::string> hosts_that_answer(const std::vector<std::string>& hosts, std::chrono::seconds patience) {
  std::deque<ChildProcess> probes;
  for (const std::string& host : hosts) {
    probes.emplace_back(std::vector<std::string>{"mpirun", "--allow-run-as-root", "-H", host, "-n", "1", "true"},
                        ChildProcess::Output::kDropped);
  }
  const Clock::time_point end = Clock::now() + patience;
  const auto all_ended = [&] {
    return std::ranges::all_of(probes, [](ChildProcess& each) { return each.ended().has_value(); });
  };
  while (!all_ended() && Clock::now() < end) std::this_thread::sleep_for(kBetweenLooks);
  std::vector<std::string> answering;
  for (size_t i = 0; i < hosts.size(); ++i)
    if (probes[i].ended() == 0) answering.push_back(hosts[i]);
  return answering;
}

}  // namespace retain
