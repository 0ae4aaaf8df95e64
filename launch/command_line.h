// The command line of retain as plain structs, one for each verb. Knows what may be written, not what it does.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "trainer/config.h"

namespace retain {

struct TrainOptions {
  std::string config;             ///< path of the YAML file
  std::vector<std::string> sets;  ///< "a.b=c", in order
  std::string resume = "auto";    ///< "auto", "never", or the path of a checkpoint
};

struct PlanOptions {
  std::string config;
  std::vector<std::string> sets;
  int ranks = 1;
  bool json = false;
};

struct NamedPath {
  std::string name, path;
};

struct EvalOptions {
  std::string checkpoint;
  std::vector<NamedPath> data;
  RetentionForm mode = RetentionForm::kChunkwise;
  int64_t tokens = 0;  ///< of each set; 0 = all
  bool json = false;
};

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;
  int64_t max_tokens = 256;
  double temperature = 1;  ///< 0 = always the most likely token
  double top_p = 1;
  uint64_t seed = 1;
};

struct DataPrepareOptions {
  std::vector<std::string> inputs;
  std::string out;  ///< prefix of what is written
  std::string tokenizer = "bytes";
  double holdout = 0;  ///< the last part of all text, kept out of training, as a fraction
};

struct DataInfoOptions {
  std::vector<std::string> paths;
  bool json = false;
};

struct CheckpointListOptions {
  std::string run;  ///< directory of the run
  bool json = false;
};

struct CheckpointCheckOptions {
  std::string directory;  ///< with golden.safetensors
  DeviceKind device = DeviceKind::kAuto;
  Precision precision = Precision::kAuto;
  bool json = false;
};

/// --help and --version: nothing is left to do but print.
struct ShowText {
  std::string text;
};

using Command = std::variant<ShowText, TrainOptions, PlanOptions, EvalOptions, GenerateOptions, DataPrepareOptions,
                             DataInfoOptions, CheckpointListOptions, CheckpointCheckOptions>;

/// Reads the arguments (without the program's name). Throws Error(kUsage) with one line that says what is wrong and
/// what is legal.
Command parse_command_line(const std::vector<std::string>& arguments);

/// The verbs as they are written: "train", "data prepare".
std::vector<std::string> verb_names();

/// The long options of a verb, sorted, without --help and --version.
std::vector<std::string> option_names(const std::string& verb);

}  // namespace retain
