// What `retain plan` says of time, energy and cost: predicted for a GPU, measured by the run that is there, and by
// layout.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/command_line/command_line.h"
#include "trainer/plan/layout_search.h"

namespace retain {

/// What steps of a run took, by its metrics.
struct MeasuredSteps {
  int64_t steps = 0;   ///< of which it is the median, the newest of one start
  double seconds = 0;  ///< of a step
  std::string mesh;    ///< of the start
};

/// Of the run in that directory; nothing where there is none that has reported ten steps since it started.
std::optional<MeasuredSteps> measured_steps(const std::string& directory);

struct Prediction {
  const Gpu* gpu = nullptr;
  StepTime time;
  RunCost cost;
  double price = 0;  ///< of a GPU for an hour; 0 = not given
};

nlohmann::ordered_json to_json(const Prediction& prediction);
nlohmann::ordered_json to_json(const MeasuredSteps& measured);
nlohmann::ordered_json to_json(const LayoutSearch& search, const Config& config, double price);

void print(const Prediction& prediction, int ranks);
void print(const MeasuredSteps& measured, const Prediction* prediction, const std::string& directory);
/// The fastest ones, and the command line that trains with the first. Throws ConfigError(kConfig) when none fits.
void print(const LayoutSearch& search, const Config& config, const Gpu& gpu, double price);

}  // namespace retain
