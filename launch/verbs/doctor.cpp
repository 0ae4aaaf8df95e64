// retain doctor: whether the machines of a launch are fit to train, and what to do where they are not.
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <thread>

#include "launch/doctor/examination.h"
#include "launch/doctor/printer.h"
#include "launch/failure.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "parallel/agreement.h"
#include "parallel/host_name.h"
#include "parallel/nccl/nccl_communicator.h"
#include "trainer/file.h"
#include "trainer/selftest/selftest.h"

namespace retain {

namespace {

using checkup::Finding;
using checkup::Findings;
using checkup::Hosts;
using checkup::Verdict;

constexpr int kUnfit = static_cast<int>(ErrorKind::kDevice);
constexpr int kSelftestSteps = 20;

int exit_code(const Findings& findings) { return count(findings, Verdict::kFail) > 0 ? kUnfit : 0; }

void print(const Findings& findings, const Hosts& hosts, bool json) {
  std::cout << (json ? to_json(findings, hosts) : to_text(findings, hosts)) << std::flush;
}

/// The machine of every rank, on every rank.
Hosts hosts_of(Communicator& host) {
  std::string joined;
  for (const std::string& name : gather_texts(host, host_name())) joined += name + '\n';
  std::istringstream names(broadcast_text(host, joined, 0));
  std::vector<std::string> of_ranks;
  for (std::string name; std::getline(names, name);) of_ranks.push_back(name);
  return Hosts(of_ranks);
}

/// Every layout and pair of features of so many ranks beside one, as `retain selftest` does.
Finding run_selftest(Communicator& host, const Target& target, int local_rank) {
  const bool cuda = target.device == DeviceKind::kCuda;
  const auto backend = make_backend(target, local_rank);
  const auto groups = [&](Communicator& group) {
    return cuda ? make_nccl_groups(group, device_of(local_rank), backend->stream()) : MakeTensorGroup(same_group);
  };
  const std::vector<SelftestCase> cases = selftest_cases(host.size(), target.device, SelftestExtent::kPairs);
  const TemporaryDirectory directory;
  const int failed = run_selftest({.world = host, .backend = *backend, .device = target.device, .groups = groups},
                                  cases, kSelftestSteps, directory.path().string(), [](const SelftestResult&) {});
  return {failed > 0 ? Verdict::kFail : Verdict::kPass, "selftest", "layouts",
          fmt::format("{} runs of {} steps, {} beyond their limit", cases.size(), kSelftestSteps, failed),
          failed > 0 ? "'retain selftest' shows which; these machines compute wrong results" : ""};
}

/// Of the configuration, or of the machine alone. Where ranks disagree on the device, they are looked at as CPUs.
checkup::Examined examined_by(Communicator& host, const DoctorOptions& options, const LocalPlace& place,
                              Findings& findings) {
  checkup::Examined examined;
  Config config;
  if (!options.config.empty()) {
    examined.config = read_config_once(host, options.config, options.sets).config;
    config = *examined.config;
    examined.run_directory = config.run.dir;
  }
  if (options.device != DeviceKind::kAuto) config.device = options.device;
  const int threads = threads_per_rank(place);
  const Outcome agreed =
      attempt([&] { examined.target = agree_on_target(host, config, cuda_device_count() > 0, threads); });
  if (agreed.ok) return examined;
  if (agreed.kind != ErrorKind::kDevice) throw ConfigError(agreed.kind, agreed.message);
  findings.push_back({Verdict::kFail, "gpus", "device", agreed.message, "look at that machine's driver: nvidia-smi"});
  examined.target = {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = threads};
  return examined;
}

}  // namespace

int doctor(const DoctorOptions& options, const MpiEnvironment* mpi) {
  const std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const Hosts hosts = hosts_of(*host);
  const LocalPlace place = local_place(mpi);
  Findings findings;
  const checkup::Examined examined = examined_by(*host, options, place, findings);
  const auto end = [&](const Findings& found) {
    if (host->rank() == 0) print(found, hosts, options.json);
    if (host->rank() != 0)
      fmt::print(stderr, "retain: rank {} {}: {}\n", host->rank(), host_name(), found.back().value);
    // MPI may be what hangs.
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::seconds(2));
      std::_Exit(kUnfit);
    }).detach();
    MpiEnvironment::abort(kUnfit);
  };
  int code = 0;
  bool left_behind = false;
  {
    checkup::Examination examination(*host, hosts, place, examined, end);
    checkup::append(findings, examination.run());
    left_behind = examination.left_behind();
  }
  if (options.full) findings.push_back(run_selftest(*host, examined.target, place.rank));
  if (host->rank() == 0) {
    print(findings, hosts, options.json);
    code = exit_code(findings);
  }
  code = std::stoi(broadcast_text(*host, std::to_string(code), 0));
  if (!on_every_rank(*host, !left_behind)) MpiEnvironment::abort(code);
  return code;
}

}  // namespace retain
