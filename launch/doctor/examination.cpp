#include "launch/doctor/examination.h"

#include <algorithm>
#include <chrono>

#include "kernels/gpu_facts.h"
#include "launch/doctor/binding.h"
#include "launch/doctor/disk.h"
#include "launch/doctor/gpus.h"
#include "launch/doctor/limits.h"
#include "launch/doctor/network.h"
#include "launch/doctor/versions.h"
#include "launch/preflight.h"
#include "parallel/agreement.h"
#include "parallel/mpi/mpi_communicator.h"
#include "parallel/nccl/nccl_communicator.h"
#include "trainer/plan/run_disk.h"

namespace retain::checkup {

namespace {

using std::chrono::seconds;

// A probe of the software takes milliseconds, of the disk or a device a few seconds. What all ranks do together waits
// for the slowest of them, whose probes may each have taken their limit.
constexpr seconds kProbeLimit{5}, kDiskLimit{18}, kDeviceLimit{15}, kStageLimit{25};
constexpr NcclOptions kNcclOptions{.deadline = seconds{15}};

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

LimitFacts probe_limits_of(const std::optional<Config>& config, int ranks, const Target& target) {
  LimitFacts facts = probe_limits();
  facts.gpu = target.device == DeviceKind::kCuda;
  if (!config) return facts;
  const RunPlan plan = make_plan(*config, ranks, target);
  facts.needed_bytes = facts.gpu ? plan.host_bytes() : plan.needed_bytes();
  facts.largest_file_bytes = plan.save_bytes;
  return facts;
}

}  // namespace

Examination::Examination(Communicator& host, const Hosts& hosts, const LocalPlace& place, Examined examined,
                         std::function<void(const Findings&)> end)
    : host_(host),
      hosts_(hosts),
      place_(place),
      examined_(std::move(examined)),
      end_(std::move(end)),
      clock_([this](const std::string& stage) {
        Findings findings = on_rank_0() ? judge() : Findings{};
        findings.push_back(
            {Verdict::kFail, "ranks", "together", concat(stage, ": not over in time"),
             "look at that rank's machine: a stopped process, a hung disk or GPU, a network that is cut"});
        end_(findings);
      }) {}

Findings Examination::run() {
  collect_record();  // whoever does not answer at all is named before anything else
  look_at_clocks();
  look_at_software();
  collect_record();
  look_at_disk();
  collect_record();
  look_at_devices();
  collect_record();
  look_at_exchange();
  collect_record();
  look_at_run();
  clock_.rest();
  return on_rank_0() ? judge() : Findings{};
}

void Examination::collect_record() {
  left_behind_ = left_behind_ || record_.left_behind();
  const ByRank<Record> records = collect(host_, hosts_, clock_, kStageLimit, record_);
  const std::lock_guard lock(judging_);
  for (const auto& [rank, record] : records) records_[rank].add(record);
  record_ = {};
}

void Examination::look_at_software() {
  record_.observe_within(kProbeLimit, "versions", probe_versions);
  record_.observe("mpi", probe_mpi);
  record_.observe_within(kProbeLimit, "limits",
                         [config = examined_.config, ranks = host_.size(), target = examined_.target] {
                           return probe_limits_of(config, ranks, target);
                         });
  const bool cuda = examined_.target.device == DeviceKind::kCuda;
  const int threads = cuda ? 1 : examined_.target.threads;
  record_.observe_within(kProbeLimit, "binding", [cuda, threads, local_rank = place_.rank] {
    return probe_binding(threads, cuda ? cuda_bus_id(device_of(local_rank)) : "");
  });
}

void Examination::look_at_clocks() {
  clock_.enter("the clocks of the machines", kStageLimit);
  const ByRank<ClockReading> clocks = read_clocks(host_, hosts_, now_seconds);
  const std::lock_guard lock(judging_);
  if (on_rank_0()) append(findings_, judge_clocks(clocks, hosts_));
  clock_.rest();
}

void Examination::look_at_disk() {
  clock_.enter("the folder that rank 0 makes in the run directory", kStageLimit);
  std::filesystem::path folder;
  const Outcome made = broadcast_outcome(
      host_, on_rank_0() ? attempt([&] { folder = make_probe_folder(examined_.run_directory); }) : Outcome{}, 0);
  if (!made.ok) {
    if (on_rank_0()) record_.fail("disk", made.message);
    return clock_.rest();
  }
  folder = broadcast_text(host_, folder.string(), 0);
  std::string data;
  if (examined_.config) {
    const std::string tokens = examined_.config->data.train.front().path + ".bin";
    std::error_code error;
    if (std::filesystem::exists(tokens, error)) data = tokens;
  }
  clock_.rest();
  record_.observe_within(kDiskLimit, "disk", [folder, data, rank = host_.rank(), ranks = host_.size()] {
    DiskFacts facts = probe_disk(folder, rank, ranks);
    if (!data.empty()) facts.data_megabytes = probe_data(data);
    return facts;
  });
  clock_.enter("the disk of the run directory", kStageLimit);
  host_.barrier();
  std::error_code ignored;
  if (on_rank_0()) std::filesystem::remove_all(folder, ignored);
  clock_.rest();
}

void Examination::look_at_devices() {
  clock_.enter("the start of the devices", kStageLimit);
  const Outcome made = attempt([&] { backend_ = make_backend(examined_.target, place_.rank); });
  host_.barrier();  // all multiply at the same time, as in training
  clock_.rest();
  if (!made.ok) return record_.fail("products", made.message);
  record_.observe_within(kDeviceLimit, "products",
                         [backend = backend_, target = examined_.target, local_rank = place_.rank] {
                           const bool cuda = target.device == DeviceKind::kCuda;
                           return probe_products(*backend, target, cuda ? device_of(local_rank) : 0);
                         });
}

void Examination::look_at_exchange() {
  clock_.enter("whether all ranks have a device that works", kStageLimit);
  const bool ready = backend_ != nullptr && !left_behind_;
  if (!ready) record_.fail("exchange", "no device that works, so that nothing was exchanged");
  if (!on_every_rank(host_, ready)) return clock_.rest();
  clock_.enter("the group of all ranks", kStageLimit);
  const auto begin = std::chrono::steady_clock::now();
  std::unique_ptr<Communicator> world;
  const bool cuda = examined_.target.device == DeviceKind::kCuda;
  const Outcome made = attempt([&] {
    world = cuda ? make_nccl_communicator(host_, device_of(place_.rank), backend_->stream(), kNcclOptions)
                 : host_.split(0, host_.rank());
  });
  const double set_up = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!made.ok) record_.fail("exchange", made.message);
  if (!on_every_rank(host_, made.ok)) return clock_.rest();
  clock_.enter("the exchange among all ranks", kStageLimit);
  record_.observe("exchange", [&] {
    ExchangeFacts facts = probe_exchange(*backend_, *world, host_);
    facts.set_up_seconds = set_up;
    return facts;
  });
  clock_.rest();
}

void Examination::look_at_run() {
  if (!examined_.config) return;
  const Config& config = *examined_.config;
  clock_.enter("the inputs and the memory of the run", 3 * kStageLimit);
  const auto look = [&](const char* check, const std::string& well, const std::string& fix,
                        const std::function<void()>& work) {
    const Outcome outcome = attempt(work);
    const std::lock_guard lock(judging_);
    findings_.push_back({outcome.ok ? Verdict::kPass : Verdict::kFail, "run", check,
                         outcome.ok ? well : outcome.message, outcome.ok ? "" : fix});
  };
  look("inputs", "are there and hold what the model can take", "see 'retain data info'",
       [&] { check_inputs(host_, config, examined_.target); });
  look("memory", "what is planned fits", "'retain plan' lists what a rank takes", [&] {
    Target target = examined_.target;
    agree_on_memory(host_, config, target, place_);
    check_all_memory(host_, config, target, place_);
  });
  if (!on_rank_0()) return;
  Finding room;
  const Outcome looked = attempt([&] {
    const RunPlan plan = make_plan(config, host_.size(), examined_.target);
    const CheckpointsOnDisk found = look_at_checkpoints(examined_.run_directory);
    const int64_t done = found.steps.empty() ? 0 : std::min(found.steps.front().step, plan.steps);
    room = judge_room(plan_disk(config, plan, done, plan.steps, found), retention_of(config.checkpoint));
  });
  if (!looked.ok) room = {Verdict::kFail, "disk", "room", looked.message, "see 'retain checkpoint list'"};
  const std::lock_guard lock(judging_);
  findings_.push_back(room);
}

Findings Examination::judge() {
  const std::lock_guard lock(judging_);
  Findings findings = judge_versions(facts_of<VersionFacts>(records_, "versions"), hosts_);
  const auto products = facts_of<ProductFacts>(records_, "products");
  auto exchanges = facts_of<ExchangeFacts>(records_, "exchange");
  ByRank<GpuFacts> gpus;
  for (const auto& [rank, facts] : products) {
    if (!facts.gpu) continue;
    gpus[rank] = *facts.gpu;
    if (exchanges.contains(rank)) exchanges[rank].nvlinks = facts.gpu->reading.active_links.value_or(0);
  }
  if (!products.empty()) append(findings, judge_gpus(gpus, hosts_));
  if (!products.empty()) append(findings, judge_products(products, hosts_));
  append(findings, judge_binding(facts_of<BindingFacts>(records_, "binding"), hosts_));
  append(findings, judge_mpi(facts_of<MpiFacts>(records_, "mpi"), hosts_));
  if (!exchanges.empty()) append(findings, judge_exchange(exchanges, hosts_));
  const auto disks = facts_of<DiskFacts>(records_, "disk");
  if (!disks.empty()) append(findings, judge_disk(disks, hosts_));
  append(findings, judge_limits(facts_of<LimitFacts>(records_, "limits"), hosts_));
  append(findings, findings_);
  append(findings, judge_failures(records_, hosts_));
  return findings;
}

}  // namespace retain::checkup
