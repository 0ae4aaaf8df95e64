// retain selftest: composed parallelism proven here, on threads, over MPI, or on the GPUs of a launch.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include <fmt/core.h>

#include "launch/failure.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "parallel/nccl/nccl_communicator.h"
#include "parallel/threads/run_ranks.h"
#include "trainer/file.h"
#include "trainer/selftest/selftest.h"

namespace retain {

namespace {

constexpr int kSteps = 20;
constexpr int kThreadRanks = 4;  // if --ranks is not given
// Ranks without a part in a layout wait for the others' runs.
constexpr auto kDeadline = std::chrono::hours(1);

// The worst of one precision in one layout.
struct Worst {
  int runs = 0, failed = 0;
  double loss_difference = 0, gradient_difference = 0;

  void add(const SelftestResult& result) {
    ++runs;
    failed += result.passed() ? 0 : 1;
    loss_difference = std::max(loss_difference, result.loss_difference);
    gradient_difference = std::max(gradient_difference, result.gradient_difference);
  }
};

// Prints a layout's line when its last case is there.
class Table {
 public:
  Table() {
    fmt::print("{:<22} {:<9} {:>5} {:>16} {:>20}\n", "layout", "precision", "runs", "worst loss", "worst gradient");
  }
  void add(const SelftestResult& result) {
    const std::string layout = result.what.mesh.describe();
    if (layout != layout_) finish_layout();
    layout_ = layout;
    worst_[precision_name(result.what.compute)].add(result);
    if (!result.passed()) failures_.push_back(result);
  }
  void finish(size_t runs) {
    finish_layout();
    for (const SelftestResult& r : failures_) {
      fmt::print("beyond its limits: {}: loss {:.1e} ({:.0e}), gradient {:.1e} ({:.0e})\n", r.what.describe(),
                 r.loss_difference, r.loss_limit, r.gradient_difference, r.gradient_limit);
    }
    fmt::print("{} runs of {} steps, {} beyond their limit\n", runs, kSteps, failures_.size());
  }

 private:
  void finish_layout() {
    for (const auto& [precision, worst] : worst_) {
      fmt::print("{:<22} {:<9} {:>5} {:>16.1e} {:>20.1e}{}\n", layout_, precision, worst.runs, worst.loss_difference,
                 worst.gradient_difference, worst.failed ? "  FAILED" : "");
    }
    std::fflush(stdout);
    worst_.clear();
  }

  std::string layout_;
  std::map<std::string, Worst> worst_;  // of the layout at work, by precision
  std::vector<SelftestResult> failures_;
};

nlohmann::ordered_json to_json(const SelftestResult& r) {
  return {{"dp", r.what.mesh.dp},
          {"cp", r.what.mesh.cp},
          {"tp", r.what.mesh.tp},
          {"precision", precision_name(r.what.compute)},
          {"documents", r.what.documents},
          {"tied", r.what.tied},
          {"accumulation", r.what.accumulation},
          {"zero", r.what.zero},
          {"recompute", recompute_name(r.what.recompute)},
          {"loss_difference", r.loss_difference},
          {"gradient_difference", r.gradient_difference},
          {"loss_limit", r.loss_limit},
          {"gradient_limit", r.gradient_limit},
          {"passed", r.passed()}};
}

// Rank 0 reports. The exit code is that of a broken invariant if a case failed.
int run_and_report(const SelftestRanks& ranks, const SelftestOptions& options) {
  const std::vector<SelftestCase> cases =
      selftest_cases(ranks.world.size(), ranks.device, options.full ? SelftestExtent::kAll : SelftestExtent::kPairs);
  const TemporaryDirectory directory;
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  std::optional<Table> table;
  if (ranks.world.rank() == 0 && !options.json) table.emplace();
  const int failed = run_selftest(ranks, cases, kSteps, directory.path().string(), [&](const SelftestResult& result) {
    table ? table->add(result) : results.push_back(to_json(result));
  });
  if (table) table->finish(cases.size());
  if (ranks.world.rank() == 0 && options.json) {
    std::cout
        << nlohmann::ordered_json{{"schema", 1}, {"steps", kSteps}, {"failed", failed}, {"results", results}}.dump(2)
        << "\n";
  }
  return failed ? static_cast<int>(ErrorKind::kInternal) : 0;
}

int selftest_on_threads(const SelftestOptions& options) {
  int code = 0;
  run_ranks(
      options.ranks ? options.ranks : kThreadRanks,
      [&](Communicator& world) {
        const auto backend = make_cpu_backend(1);
        const int mine = run_and_report({.world = world, .backend = *backend}, options);
        if (world.rank() == 0) code = mine;
      },
      kDeadline);
  return code;
}

}  // namespace

int selftest(const SelftestOptions& options, const MpiEnvironment* mpi) {
  const std::unique_ptr<Communicator> world = make_host_communicator(mpi);
  Config config;
  config.device = options.device;
  const Target target = agree_on_target(*world, config, cuda_device_count() > 0, 1);
  const bool cuda = target.device == DeviceKind::kCuda;
  if (options.ranks != 0 && (mpi || cuda)) {
    throw SharedError(
        ErrorKind::kUsage,
        mpi ? "--ranks is for ranks that are threads; under a launcher its ranks are those of the self-test"
            : "--ranks is for ranks that are threads, on CPUs: add --device cpu, or start as many processes as "
              "there are GPUs: mpirun -n 2 retain selftest");
  }
  if (!mpi && !cuda) return selftest_on_threads(options);

  const int local_rank = local_place(mpi).rank;
  const auto backend = make_backend(target, local_rank);
  const auto groups = [&](Communicator& group) {
    return cuda ? make_nccl_groups(group, device_of(local_rank), backend->stream()) : MakeTensorGroup(same_group);
  };
  return run_to_exit_code(mpi,
                          [&] {
                            return run_and_report(
                                {.world = *world, .backend = *backend, .device = target.device, .groups = groups},
                                options);
                          },
                          {.let_go = [] {}});  // the groups die with the job; to unwind might wait for another rank
}

}  // namespace retain
