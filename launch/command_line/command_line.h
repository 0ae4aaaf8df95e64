// The command line of retain as plain structs, one for each verb. Knows what may be written, not what it does.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "launch/jobs/scheduler.h"
#include "launch/watch/figure.h"
#include "trainer/config.h"
#include "trainer/inference/sampling.h"
#include "trainer/interop/export_format.h"

namespace retain {

/// Steps [first, last], counted from 1; none when last is 0.
struct StepRange {
  int64_t first = 0, last = 0;
};

struct TrainOptions {
  std::string config;                      ///< path of the YAML file
  std::vector<std::string> sets;           ///< "a.b=c", in order
  std::string resume = "auto";             ///< "auto", "never", or the path of a checkpoint
  std::string init_from;                   ///< "", or the checkpoint whose weights a new run begins with
  bool no_progress = false;                ///< no line at the bottom of a terminal
  StepRange profile;                       ///< steps that a waiting profiler records
  std::vector<std::string> allow_changed;  ///< keys of changeable_keys() that may differ from the checkpoint's
};

struct PlanOptions {
  std::string config;
  std::vector<std::string> sets;
  int ranks = 0;               ///< 0 = those of the launcher, or one
  int ranks_per_node = 0;      ///< of one machine; 0 = as the launcher put them, or eight
  std::string gpu;             ///< the name of the one to predict for; "" = the one here
  bool search = false;         ///< over layouts of the ranks
  double network_gbits = 400;  ///< of each GPU to other machines, Gbit/s
  double price = 0;            ///< of a GPU for an hour; 0 = not given
  std::string explain;         ///< a key, or a section, instead of a plan
  bool json = false;
};

struct NamedPath {
  std::string name, path;
};

struct EvalOptions {
  std::string checkpoint;
  std::vector<NamedPath> data;
  std::map<std::string, int64_t> words = {};  ///< that the text of a set has, for its word perplexity
  std::vector<std::string> choices = {}, last_words = {}, documents = {};  ///< paths of JSONL files
  RetentionForm mode = RetentionForm::kChunkwise;
  int64_t tokens = 0;            ///< of each set; 0 = all
  int64_t context = 0;           ///< tokens of a window; 0 = as trained
  int64_t stride = 0;            ///< between the beginnings of windows, tokens; 0 = the context
  bool carry_documents = false;  ///< keep the state where documents begin
  int tp = 1, cp = 1;            ///< of the ranks; the rest are replicas
  bool json = false;
};

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;        ///< the text to continue, unless a file is given
  std::string prompt_file;   ///< "", or the file that holds it; "-" is standard input
  std::string prompts_file;  ///< "", or a file with a prompt a line; "-" is standard input
  int64_t slots = 8;         ///< prompts of prompts_file that are continued at once
  int64_t max_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stops;
  std::string state, save_state;  ///< "", or files (trainer/inference/state_file.h)
};

struct ServeOptions {
  std::string checkpoint;
  std::string host = "127.0.0.1";
  int port = 8000;  ///< 0: one that is free
  int64_t slots = 8;
  int64_t queue = 64;          ///< requests that wait for a slot
  int64_t connections = 1024;  ///< at once
  int64_t max_tokens = 16384;  ///< that a request may ask for
  int64_t max_body_bytes = 16 << 20;
  int64_t drain_seconds = 30;  ///< that answers under way have to finish in when it is told to stop
};

struct DataPrepareOptions {
  std::vector<std::string> inputs;
  std::string out;  ///< prefix of what is written
  std::string tokenizer = "bytes";
  double holdout = 0;                   ///< the last part of all text, kept out of training, as a fraction
  std::optional<std::string> text_key;  ///< given: the inputs are JSONL
  std::string encoding;                 ///< of the inputs; "" = UTF-8 without a byte order mark
  int64_t skip_bad = 0;                 ///< lines of JSONL, and files found in folders, that may be left out
  int64_t threads = 0;                  ///< 0 = one a processor
  bool no_progress = false;             ///< no line at the bottom of a terminal
};

struct DataTrainTokenizerOptions {
  std::vector<std::string> inputs;
  std::string out;  ///< the tokenizer's folder
  int64_t vocab_size = 0;
  int64_t sample_bytes = int64_t{1} << 26;  ///< of the text, at most
  std::optional<std::string> text_key;
  std::string encoding;
  int64_t skip_bad = 0;
};

struct DataInfoOptions {
  std::vector<std::string> paths;
  std::string tokenizer = "bytes";
  bool json = false;
};

struct DataShowOptions {
  std::string run, config;  ///< the directory of a run, or the path of a YAML file
  std::vector<std::string> sets;
  int64_t step = 0;     ///< from 1 on; 0: a sample is shown
  int64_t sample = -1;  ///< of the run
  int rank = -1;        ///< of `ranks`; -1: all of them
  int ranks = 1;
  bool json = false;
};

struct CheckpointListOptions {
  std::string run;  ///< directory of the run
  bool json = false;
};

struct CheckpointVerifyOptions {
  std::string path;  ///< a step, or a run
  bool json = false;
};

struct CheckpointDigestOptions {
  std::string path;
  bool json = false;
};

struct CheckpointDiffOptions {
  std::string first, second;
  bool json = false;
};

struct CheckpointExportOptions {
  std::string checkpoint, out;
  ExportFormat format;
  bool json = false;
};

struct CheckpointImportOptions {
  std::string folder, out;
  std::string tokenizer;  ///< "": the folder's
};

struct CheckpointCheckOptions {
  std::string directory;  ///< with golden.safetensors
  DeviceKind device = DeviceKind::kAuto;
  Precision precision = Precision::kAuto;
  bool json = false;
};

struct BenchGemmOptions {
  std::string config;  ///< "": the built-in shape of 1.4 B parameters
  std::vector<std::string> sets;
  int64_t tokens = 0;  ///< rows of the products; 0 = a micro-batch of the configuration
  int repeats = 20;
  bool json = false;
};

struct HeadShape {
  int64_t heads = 8, key_dim = 256, value_dim = 512;
};

struct BenchRetentionOptions {
  int64_t tokens = 65536;  ///< that times are given for
  std::vector<int64_t> seq_lens = {2048, 8192, 32768, 131072};
  std::vector<HeadShape> shapes = {{8, 256, 512}, {16, 128, 256}};
  DeviceKind device = DeviceKind::kAuto;
  Precision precision = Precision::kAuto;
  int repeats = 20;
  bool json = false;
};

struct BenchCollectivesOptions {
  int64_t max_bytes = 1 << 30;
  DeviceKind device = DeviceKind::kAuto;
  Precision precision = Precision::kAuto;
  int repeats = 20;
  bool json = false;
};

struct BenchStepOptions {
  std::string config;
  std::vector<std::string> sets;
  int steps = 20;  ///< that count, after `warmup` that do not
  int warmup = 3;
  bool json = false;
};

struct BenchGenerateOptions {
  std::string config;
  std::vector<std::string> sets;
  std::vector<int64_t> batches = {1, 64, 256};
  std::vector<int64_t> contexts = {1024, 65536, 1048576};
  int64_t tokens = 128;  ///< that count, after a warm-up
  bool json = false;
};

struct LaunchOptions {
  std::string config;
  std::vector<std::string> sets;
  Scheduler scheduler = Scheduler::kSlurm;
  int nodes = 0;           ///< 0 = the hosts that there are, or one
  int gpus_per_node = 0;   ///< a rank each; or
  int ranks_per_node = 0;  ///< ranks without one
  int64_t limit_seconds = 0;
  int64_t notice_seconds = 180;  ///< how long before the limit the run is told to end
  std::string name, account, partition;
  std::string site, hostfile;  ///< paths, or ""
  int restarts = 3;
  bool dry_run = false, supervise = false, json = false;
};

struct SelftestOptions {
  int ranks = 0;  ///< that are threads; 0 = the default, or those of the launcher
  DeviceKind device = DeviceKind::kAuto;
  bool full = false;  ///< every combination of features
  bool json = false;
};

struct DoctorOptions {
  std::string config;  ///< "": the machines alone
  std::vector<std::string> sets;
  DeviceKind device = DeviceKind::kAuto;
  bool full = false;  ///< the self-test too
  bool json = false;
};

struct TopOptions {
  std::vector<std::string> runs;
  bool once = false;
  double seconds = 1;             ///< between two looks
  int64_t columns = 0, rows = 0;  ///< of a page that is printed once; 0: the terminal's, or 80 × 24
};

struct PlotOptions {
  std::vector<std::string> runs;
  std::string out;
  FigureOptions figure;
};

struct StudyPlanOptions {
  std::string study;  ///< path of its YAML file
  bool dry_run = false, json = false;
};

enum class StudyScheduler : uint8_t { kLocal, kSlurm };

struct StudyRunOptions {
  std::string study;  ///< the study's folder, or its YAML file, which is planned first
  std::vector<std::string> only;
  int max_jobs = 0;  ///< 0 = as many as the plan says
  StudyScheduler scheduler = StudyScheduler::kLocal;
  std::string runs;           ///< a runs.csv whose cells are not trained again
  int64_t limit_seconds = 0;  ///< of all of it, or of a task of Slurm
  std::string account, partition, site;
  bool shared = false;  ///< other queues work on the study too
  bool dry_run = false;
};

struct StudyStatusOptions {
  std::string dir, runs;
  bool json = false;
};

struct StudyCollectOptions {
  std::string dir, out;
};

struct StudyRatesOptions {
  std::string study;     ///< path of its YAML file
  int64_t seconds = 10;  ///< that measuring a size takes, about
};

struct StudyFitOptions {
  std::string runs;  ///< path of a CSV file
  std::string map, holdout, form = "auto", out;
  std::vector<std::string> only;
  double delta = 1e-3;
  int starts = 200, resamples = 4000;
  int64_t seed = 1;
  int threads = 0;  ///< 0 = as many as there are processors
};

struct StudyPredictOptions {
  std::string fit;                           ///< path of a fit.json
  double params = 0, tokens = 0, flops = 0;  ///< the first two, or the last
  bool json = false;
};

struct StudyPlotOptions {
  std::string runs, fit, out;
};

struct StudyReportOptions {
  std::string runs, fit;
};

struct StudyWidthOptions {
  std::string config;
  std::vector<std::string> sets;
  std::vector<int64_t> widths = {128, 256, 512, 1024};
  int64_t steps = 10;
  std::string out;  ///< folder of the figure; "" = none is drawn
  bool json = false;
};

/// --help and --version: nothing is left to do but print.
struct ShowText {
  std::string text;
};

using Command =
    std::variant<ShowText, TrainOptions, PlanOptions, EvalOptions, GenerateOptions, ServeOptions, DataPrepareOptions,
                 DataTrainTokenizerOptions, DataInfoOptions, DataShowOptions, CheckpointListOptions,
                 CheckpointVerifyOptions, CheckpointDigestOptions, CheckpointDiffOptions, CheckpointExportOptions,
                 CheckpointImportOptions, CheckpointCheckOptions, BenchGemmOptions, BenchRetentionOptions,
                 BenchCollectivesOptions, BenchStepOptions, BenchGenerateOptions, LaunchOptions, SelftestOptions,
                 DoctorOptions, TopOptions, PlotOptions, StudyPlanOptions, StudyRunOptions, StudyStatusOptions,
                 StudyCollectOptions, StudyFitOptions, StudyPredictOptions, StudyPlotOptions, StudyReportOptions,
                 StudyRatesOptions, StudyWidthOptions>;

/// The verbs that a launcher may start on several ranks.
template <class Options>
inline constexpr bool kRunsOnRanks =
    std::is_same_v<Options, TrainOptions> || std::is_same_v<Options, PlanOptions> ||
    std::is_same_v<Options, EvalOptions> || std::is_same_v<Options, BenchCollectivesOptions> ||
    std::is_same_v<Options, BenchStepOptions> || std::is_same_v<Options, SelftestOptions> ||
    std::is_same_v<Options, DoctorOptions>;

/// A path on the command line: the option or argument that gives it, and its text.
struct GivenPath {
  std::string option;
  std::string* text;
};

/// All paths of a command. "auto", "never" and "-" are words, and what was not given is none.
std::vector<GivenPath> given_paths(Command& command);

/// Reads the arguments (without the program's name). Throws Error(kUsage) with one line that says what is wrong and
/// what is legal.
Command parse_command_line(const std::vector<std::string>& arguments);

}  // namespace retain
