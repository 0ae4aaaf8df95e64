// The plan of a study: every run with its sizes, cost and settings. It is kept as plan.json, which study run, status
// and collect read, and as plan.csv for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/study/cells.h"

namespace retain::study {

struct PlannedRun {
  std::string name = {}, size = {}, parent = {};  ///< as in Run
  bool is_cell = true;
  uint64_t seed = 1;
  Counts parameters = {};
  int64_t steps = 0, first_step = 0;  ///< of the whole run; those that its parent has done
  int64_t tokens = 0;                 ///< D: of the whole run, the parent's included
  double flops = 0, flops_6nd = 0;    ///< of D: exact (retain plan's FLOPs/token), and 6 * all parameters * D
  int64_t batch_tokens = 0, micro_batch_tokens = 0, warmup_steps = 0;
  double lr = 0, beta2 = 0, weight_decay = 0;
  std::string schedule = {};  ///< "wsd", "cosine", "linear"; "constant" of a trunk
  int64_t layers = 0, hidden_size = 0, heads = 0, ffn_size = 0;
  std::string layout = {};            ///< "dp=1 cp=1 tp=1"
  int64_t memory_bytes = 0;           ///< that a rank needs of its device
  double seconds = 0;                 ///< predicted, of the steps that are its own
  double gpu_hours = 0;               ///< predicted: a GPU that jobs share counts for each by its part
  std::optional<double> epochs = {};  ///< of the training set that is repeated most; nothing where that is not known
};

struct Plan {
  std::string dir = {};  ///< of the study, absolute
  bool on_gpu = true;
  int gpus = 1, jobs_per_gpu = 1, ranks = 1;
  std::vector<std::string> eval_sets = {};  ///< data.valid of the base
  std::vector<PlannedRun> runs = {};        ///< in the order in which they are to start

  double gpu_hours() const;
  int64_t cells() const;
  std::string run_directory(const std::string& name) const { return dir + "/cells/" + name; }
  /// Of the run with this name. Throws Error(kInternal) without one.
  size_t index_of(const std::string& name) const;
  /// That share a trunk: seconds of the longest way from the beginning to a cell's end, one after the other.
  double longest_seconds() const;
};

/// A set of the training data and how much of a mixture is drawn from it.
struct SetSize {
  double share = 1;  ///< of all tokens
  int64_t tokens = 0;
};

/// `sets`: none where the data is not there yet. Throws ConfigError(kConfig) when something is over the study's limits,
/// naming the cells.
Plan make_plan(const Study& study, const std::vector<Run>& runs, const std::vector<SetSize>& sets);

std::string to_json(const Plan& plan);  ///< ends with a new line; all numbers with all digits
/// Throws Error(kData) where the text is no plan. `dir`: where it was found.
Plan plan_from_json(const std::string& text, const std::string& dir);
std::string to_csv(const Plan& plan);
/// For people: a line a run, and what all take together.
std::string to_table(const Plan& plan);

}  // namespace retain::study
