// What the file of a scaling-law study says, as plain values (launch/config/study_reader fills them). Which runs follow
// from it is said by cells.h.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "trainer/config.h"

namespace retain::study {

/// What N counts where a size, a ladder or a rule speaks of parameters (counts.h).
enum class Counted : uint8_t { kAll, kNonEmbedding, kBlocks };

/// A model by its widths; or by how many parameters it is to have, which shapes.h turns into widths.
struct Size {
  std::string name;        ///< begins the names of its cells: "4M"
  int64_t parameters = 0;  ///< 0: layers and hidden_size are given
  int64_t layers = 0, hidden_size = 0;
  int64_t heads = 0, ffn_size = 0;  ///< 0: by the rule of shapes
};

/// How widths follow from a number of parameters.
struct ShapeRule {
  int64_t head_dim = 0;         ///< keys of a head; 0: auto
  double width_per_layer = 64;  ///< hidden_size / layers that is aimed at
  double ffn_ratio = 0;         ///< ffn_size / hidden_size; 0: as in the base
};

/// isoFLOP: each of these sizes is trained until it has taken so many FLOPs.
struct Budget {
  double flops = 0;
  std::vector<std::string> sizes;  ///< none: all
};

enum class RuleKind : uint8_t { kBase, kPowerLaw, kOlmoLadder, kPowerLines, kSqrtWidth };

/// How a hyperparameter follows from N and D; rules.h has the formulas and their sources.
struct Rule {
  RuleKind kind = RuleKind::kBase;
  double coefficient = 0, exponent_params = 0, exponent_tokens = 0;  ///< of a power law; coefficient of power_lines
  double at = 0, value = 0;  ///< where a value was measured: at so many tokens, or at this hidden_size
  double min = 0, max = std::numeric_limits<double>::infinity();
};

struct Rules {
  Rule batch_tokens = {}, lr = {}, beta2 = {}, warmup_tokens = {}, weight_decay = {};
};

/// A cell that is trained with further seeds.
struct Repeat {
  std::string cell;  ///< without its seed: "4M-x20"
  std::vector<uint64_t> seeds;
};

struct MeasuredRate {
  double parameters = 0;         ///< all of them
  double tokens_per_second = 0;  ///< of one job, while as many run beside it as will
};

/// What a study runs on, and how fast that is.
struct Machine {
  int gpus = 1;
  int jobs_per_gpu = 1;         ///< at the same time; on a CPU: of the CPU
  int ranks = 1;                ///< of each run
  double memory_bytes = 0;      ///< of a GPU, or of the machine for runs on a CPU; 0: an H200's, a CPU's not compared
  double flops_per_second = 0;  ///< of one job in long steps; 0: guessed
  double step_seconds = -1;     ///< that a step takes besides; below 0: guessed
  std::vector<MeasuredRate> rates;
};

struct Limits {
  double max_gpu_hours = 0;  ///< of the whole study; 0: none
  double max_epochs = 0;     ///< of the training data; 0: none
};

struct Study {
  std::string dir;  ///< absolute
  Config base;
  Counted count = Counted::kNonEmbedding;
  std::vector<uint64_t> seeds = {1};
  bool decay_branches = false;  ///< cells of one size share a trunk of constant rate and end in decays of their own
  std::vector<Size> sizes;
  ShapeRule shapes;
  std::vector<double> tokens_per_parameter, tokens;  ///< the ladder: every size with each of these
  std::vector<Budget> budgets;
  Rules rules;
  std::vector<Repeat> repeats;
  Machine machine;
  Limits limits;

  /// Shapes and memory are planned for a GPU unless the base says device: cpu, whatever this machine has.
  bool on_gpu() const { return base.device != DeviceKind::kCpu; }
};

}  // namespace retain::study
