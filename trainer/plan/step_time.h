// How long a step will take on a GPU of which only the data sheet is known: the time of each kind of work at the share
// of the sheet's rates that an H200 reached.
#pragma once

#include <string>
#include <vector>

#include "trainer/plan/gpu.h"
#include "trainer/plan/plan.h"

namespace retain {

/// The name of the part in which a GPU waits between its kernels: other jobs can use it meanwhile.
inline constexpr const char* kStartsOfKernels = "starts of kernels";

struct StepPart {
  std::string name;
  double seconds = 0;
};

struct StepTime {
  std::vector<StepPart> parts;  ///< one after the other; of exchanges what computing does not hide

  double seconds() const;
};

/// Links of a GPU to other machines, if nobody says: one port of 400 Gbit/s each, one direction.
inline constexpr double kUsualNetworkBytesPerSecond = 50e9;

/// Of the rank that has the most micro-batches. `exchanges` of the rank that exchanges most (busiest_exchanges), at
/// network_bytes_per_second a GPU between machines. Pre: gpu.is_predicted(), plan.target.device is a GPU.
StepTime predict_step(const Config& config, const RunPlan& plan, const RankExchanges& exchanges, const Gpu& gpu,
                      double network_bytes_per_second = kUsualNetworkBytesPerSecond);

/// What a run will take of time and power, by the prediction of its steps.
struct RunCost {
  double step_seconds = 0;
  double tokens_per_second = 0;     ///< of all ranks
  double mfu = 0;                   ///< of the GPU's peak in the run's compute type
  double hours = 0, gpu_hours = 0;  ///< of the whole run, without evaluations and what fails
  double kilowatt_hours = 0;        ///< of its GPUs, at their power limits
};
RunCost cost_of(const Config& config, const RunPlan& plan, const Gpu& gpu, double step_seconds);

}  // namespace retain
