// retain study rates: how fast each size of a study trains here, while as many runs share the machine as will.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/processors.h"
#include "kernels/core/text.h"
#include "launch/config/study_reader.h"
#include "launch/jobs/process.h"
#include "launch/jobs/study_queue.h"
#include "launch/verbs/verbs.h"
#include "launch/version.h"
#include "trainer/file.h"
#include "trainer/json.h"
#include "trainer/study/cells.h"

namespace retain {
namespace {

namespace fs = std::filesystem;
using study::Run;
using study::Study;

constexpr int64_t kLargestOutput = int64_t{1} << 20;  // bytes
constexpr std::chrono::milliseconds kBetweenLooks{50};
constexpr int64_t kTrialSteps = 10;

/// Of each size the cell with the most tokens, whose hyperparameters its trunk has.
std::vector<Run> largest_cells(const Study& study) {
  std::vector<std::string> doubts;
  std::map<std::string, Run> largest;
  for (const Run& run : study::make_runs(study, doubts)) {
    if (!run.is_cell) continue;
    const auto [found, fresh] = largest.emplace(run.size, run);
    if (!fresh && run.config.train.tokens > found->second.config.train.tokens) found->second = run;
  }
  std::vector<Run> cells;
  for (const study::Size& size : study.sizes)
    if (largest.contains(size.name)) cells.push_back(largest.at(size.name));
  return cells;
}

/// `retain bench step` in as many processes at a time as the study has on one GPU.
class Bench {
 public:
  Bench(const Study& study, double seconds)
      : jobs_(study.machine.jobs_per_gpu),
        ranks_(study.machine.ranks),
        gpus_(study.on_gpu() ? cuda_device_count() : 0),
        seconds_(seconds) {
    if (study.on_gpu() && gpus_ == 0)
      throw Error(ErrorKind::kDevice, "the study is for GPUs (base: device), and there is none here to measure on");
  }

  /// Tokens a second of one job: the mean of all.
  double rate(const Run& cell) const {
    const std::string config = (folder_.path() / "config.yaml").string();
    replace_file(config, run_config_text(cell));
    run(config, kTrialSteps, 1);
    const auto steps = std::max<int64_t>(kTrialSteps, std::llround(seconds_ / (step_seconds(0) * jobs_)));
    run(config, steps, jobs_);
    double sum = 0;
    for (int job = 0; job < jobs_; ++job)
      sum += static_cast<double>(cell.config.train.batch_tokens) / step_seconds(job);
    return sum / jobs_;
  }

 private:
  std::string output(int job) const { return (folder_.path() / fmt::format("{}.txt", job)).string(); }

  /// Runs them all to their end.
  void run(const std::string& config, int64_t steps, int jobs) const {
    std::vector<std::string> command = mpi_command(ranks_);
    command.insert(command.end(),
                   {fs::read_symlink("/proc/self/exe").string(), "bench", "step", config, "--json", "--steps",
                    std::to_string(steps), "--warmup", std::to_string(std::max<int64_t>(3, steps / 4))});
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    // On a GPU all are on the first, as the jobs of one are; of a CPU each has its part.
    const auto environment = study_environment(0, gpus_ > 0 ? 1 : jobs_, ranks_, std::min(gpus_, ranks_),
                                               visible ? visible : "", threads_of_rank(read_processor_limits(), 1));
    std::vector<ChildProcess> children;
    for (int job = 0; job < jobs; ++job) {
      std::error_code error;
      fs::remove(output(job), error);  // a child appends
      children.emplace_back(
          command, ChildProcess::Setting{
                       .output = ChildProcess::Output::kFile, .file = output(job), .environment = environment});
    }
    for (int job = 0; job < jobs; ++job) {
      ChildProcess& child = children[static_cast<size_t>(job)];
      while (!child.ended()) std::this_thread::sleep_for(kBetweenLooks);
      if (const int code = *child.ended(); code != 0)
        throw Error(code == static_cast<int>(ErrorKind::kOutOfMemory) ? ErrorKind::kOutOfMemory : ErrorKind::kDevice,
                    concat("bench step, ", jobs, " at a time, ended with ", code, ": ",
                           escape_controls(read_text(File::open_input(output(job)), kLargestOutput)),
                           "\nmachine.jobs_per_gpu says how many there are"));
    }
  }

  double step_seconds(int job) const {
    const std::string text = read_text(File::open_input(output(job)), kLargestOutput);
    const size_t line = text.find("\n{");  // what is said on stderr may come before
    const nlohmann::json json =
        parse_strict_json(line == std::string::npos ? text : text.substr(line + 1), "bench step: ");
    return JsonReader(json, "bench step: ").at("rows").elements().at(0).at("step_ms").number() * 1e-3;
  }

  int jobs_, ranks_, gpus_;
  double seconds_;
  TemporaryDirectory folder_;
};

}  // namespace

int study_rates(const StudyRatesOptions& options) {
  const Study study = load_study(options.study);
  const Bench bench(study, static_cast<double>(options.seconds));
  fmt::print("# of one run, {} at a time; retain {} ({})\nrates:\n", study.machine.jobs_per_gpu, version(), commit());
  for (const Run& cell : largest_cells(study)) {
    const double rate = bench.rate(cell);
    fmt::print("  - {{parameters: {}, tokens_per_second: {:.0f}}}  # {}\n", study::count(cell.config.model).all, rate,
               cell.size);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace retain
