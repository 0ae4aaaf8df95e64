#include "trainer/step_recordings.h"

#include "trainer/model/parameter_layout.h"

namespace retain {

namespace {

// A micro-batch of several hundred launches is bound by them where its work takes less than a few milliseconds. Beyond,
// the watchdog is better off with marks inside.
constexpr double kFewFlops = 1e13;

constexpr std::array<const char*, StepRecordings::kParts> kPhases = {"forward and backward", "forward and backward",
                                                                     "forward and backward", "forward and backward",
                                                                     "gradient norm",        "update"};

}  // namespace

bool records_steps(const Config& config, int ranks) {
  if (ranks > 1 || config.train.graph == StepGraph::kOff) return false;
  return config.train.graph == StepGraph::kOn ||
         flops_per_token(config.model) * static_cast<double>(config.train.micro_batch_tokens) <= kFewFlops;
}

bool StepRecordings::queue(Part part, const std::function<void()>& work) {
  State& state = parts_.at(part);
  if (records_ && state.known && !state.recording) state.recording = backend_.record(work);
  if (!state.recording) {
    work();
    state.known = true;
    return true;
  }
  const Phase phase(backend_, kPhases.at(part));
  state.recording->queue();
  return false;
}

}  // namespace retain
