// The configuration of a run: plain structs nested by consumer. Who reads a value is its struct's namesake.
// launch/config/reader fills it from YAML within the bounds of the table in launch/config/schema.cpp; validate() checks
// values against each other. After that it never changes.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/ops.h"
#include "parallel/agreement.h"
#include "parallel/topology.h"

namespace retain {

enum class Decay : uint8_t { kEq8, kPaperExp };
enum class Rotary : uint8_t { kRope, kTorchscale };
/// What initial weights are drawn with (trainer/model/scaling.h).
enum class Init : uint8_t { kNormal, kDepthScaled, kTorchscale };
enum class ScheduleKind : uint8_t { kLinear, kCosine, kWsd, kConstant };
enum class DeviceKind : uint8_t { kAuto, kCpu, kCuda };
const char* device_name(DeviceKind device);  ///< "auto", "cpu", "cuda"
enum class OnSaveError : uint8_t { kContinue, kStop };
enum class GradientType : uint8_t { kFp32, kBf16 };
enum class OnSpike : uint8_t { kWarn, kSkip, kRollBack };
enum class Precision : uint8_t { kAuto, kBf16, kFp32, kFp64 };
/// What of a forward the backward computes again instead of finding it in memory (trainer/README.md#recompute).
enum class Recompute : uint8_t { kNone, kSelective, kFull, kSegment };
/// In the order of what they save.
inline constexpr std::array kRecomputeLevels = {Recompute::kNone, Recompute::kSelective, Recompute::kFull,
                                                Recompute::kSegment};
const char* recompute_name(Recompute level);  ///< "none", "selective", "full", "segment"

/// Whether a step is recorded once and then queued as a few launches (trainer/step_recordings.h).
enum class StepGraph : uint8_t { kAuto, kOn, kOff };

struct RunConfig {
  std::string dir = "runs/default";
  uint64_t seed = 1;
};

struct ModelConfig {
  int64_t layers = 24;
  int64_t hidden_size = 2048;
  int64_t heads = 8;
  double key_expansion = 1;    ///< total key width / hidden_size
  double value_expansion = 2;  ///< total value width / hidden_size
  int64_t ffn_size = 2816;
  FfnKind ffn = FfnKind::kSwiglu;
  int64_t vocab_size = 50304;
  bool tie_embeddings = false;
  double embedding_scale = 1;
  bool embedding_norm = false;
  double norm_eps = 1e-6;
  double head_norm_eps = 0;  ///< of the norm of heads; 0 = auto: norm_eps
  Decay decay = Decay::kEq8;
  Rotary rotary = Rotary::kRope;
  GroupNormEps group_norm_eps = GroupNormEps::kConst;
  bool group_norm_affine = true;
  double init_std = 0.02;
  Init init = Init::kNormal;
  int64_t base_width = 0;  ///< hidden_size at which hyperparameters were chosen; 0: they hold as they are

  int64_t key_dim() const { return std::llround(key_expansion * hidden_size) / heads; }      ///< of one head
  int64_t value_dim() const { return std::llround(value_expansion * hidden_size) / heads; }  ///< of one head
  double head_eps() const { return head_norm_eps > 0 ? head_norm_eps : norm_eps; }           ///< epsilon of heads' norm
  /// Of hidden_size to base_width; 1 without one.
  double width_ratio() const {
    return base_width > 0 ? static_cast<double>(hidden_size) / static_cast<double>(base_width) : 1;
  }
};

struct DataSource {
  std::string path;  ///< a token shard, or a pattern of several (trainer/data/token_set.h)
  double weight = 1;
};

/// Into which a sequence may be cut (train.segment_tokens).
inline constexpr int64_t kMostSegments = 65'536;

/// data.end_of_document: one of these, or a token.
inline constexpr int64_t kEndOfDocumentAuto = -1, kEndOfDocumentNone = -2;

struct DataConfig {
  std::string tokenizer = "bytes";  ///< or the path of a tokenizer's folder or file
  std::vector<DataSource> train;
  std::map<std::string, std::string> valid;  ///< name -> path
  int64_t seq_len = 2048;
  int64_t end_of_document = kEndOfDocumentAuto;
  bool reset_state_at_documents = true;
  bool end_token_before_windows = false;  ///< of those that begin inside a document
};

struct TrainConfig {
  int64_t tokens = 0;
  int64_t batch_tokens = 0;        ///< of one optimizer step over the whole mesh
  int64_t micro_batch_tokens = 0;  ///< of one data-parallel replica in one forward, before cp cuts the sequence
  Recompute recompute = Recompute::kNone;
  int64_t segment_tokens = 0;  ///< of a sequence's segment where it is trained by segments; 0 = auto
  int64_t chunk = 0;           ///< C of chunkwise retention; 0 = auto
  StepGraph graph = StepGraph::kAuto;
};

struct EvalConfig {
  int64_t every = 500;  ///< steps; 0 = never
  int64_t tokens = 1 << 20;
  bool loss_by_position = false;  ///< in metrics too
  int64_t recurrent_every = 0;    ///< steps, a multiple of `every`: some tokens in recurrent form too; 0 = never
};

struct OptimizerConfig {
  double lr = 6e-4;
  double beta1 = 0.9, beta2 = 0.98;
  double eps = 1e-8;
  double weight_decay = 0.05;
  double clip = 1.0;  ///< 0 = no clipping
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kLinear;
  int64_t warmup_steps = 375;
  double final = 0;             ///< learning rate at the end, as a fraction of lr
  double decay_fraction = 0.1;  ///< wsd: the last part of the run in which the rate falls
};

struct ParallelConfig {
  int dp = 0;  ///< 0 = auto: ranks / (cp · tp)
  int cp = 1, tp = 1;
  int64_t tp_chunks = 0;  ///< of rows, that the ranks of tp exchange one by one; 0 = auto
  int zero = 1;           ///< 1: optimizer state cut over the replicas; 2: the gradients too
  GradientType gradient_dtype = GradientType::kFp32;  ///< in which replicas exchange them; fp32: as they are kept
};

struct CheckpointConfig {
  int64_t every = 1000;    ///< steps; 0 = only at the end
  int keep = 3;            ///< newest checkpoints kept
  int64_t keep_every = 0;  ///< multiples of this many steps are kept for ever; 0 = none
  int keep_best = 0;       ///< kept besides: those with the lowest validation loss, of steps that were validated
  bool async = true;       ///< write while training goes on
  OnSaveError on_error = OnSaveError::kContinue;  ///< whether a save that fails ends the run
  bool free_before_save = false;  ///< delete what a save will supersede before it is written, but never the last one
};

struct NumericsConfig {
  int64_t max_skips = 10;     ///< updates in a row, of which the next rolls the run back, or ends it
  int64_t max_rollbacks = 1;  ///< without a checkpoint of a later step than the one that led to them
  OnSpike on_spike = OnSpike::kWarn;
  double spike_score = 10;           ///< robust standard deviations above the median from which on a value is a spike
  int64_t spike_window = 128;        ///< steps that median and deviation are taken of
  int64_t check_replicas_every = 0;  ///< steps; 0 = never
  int64_t replay_every = 0;          ///< steps; 0 = never
};

/// log.prometheus: no file.
inline constexpr const char* kNoFile = "none";

struct LogConfig {
  int64_t every = 10;                ///< steps
  int64_t norms_every = 0;           ///< steps; 0 = never
  std::string prometheus = kNoFile;  ///< path of a file for node_exporter's textfile collector
};

/// limits.hang_timeout: one of these, or seconds.
inline constexpr int64_t kHangTimeoutAuto = -1, kHangTimeoutNone = -2;

struct LimitsConfig {
  int64_t hang_timeout = kHangTimeoutAuto;  ///< seconds without progress after which a run ends (parallel/health)
  int64_t wall_time_seconds = 0;            ///< of one start; 0 = none
};

struct Config {
  RunConfig run;
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  EvalConfig eval;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  ParallelConfig parallel;
  CheckpointConfig checkpoint;
  NumericsConfig numerics;
  LogConfig log;
  LimitsConfig limits;
  DeviceKind device = DeviceKind::kAuto;
  Precision precision = Precision::kAuto;

  /// Optimizer steps of the whole run: ceil(tokens / batch_tokens).
  int64_t steps() const { return (train.tokens + train.batch_tokens - 1) / train.batch_tokens; }
  /// The mesh on this many ranks (after validate() found it legal).
  MeshShape mesh(int ranks) const;
};

/// An error of the configuration: all ranks throw it alike, because one rank reads it for all.
class ConfigError : public SharedError {
 public:
  using SharedError::SharedError;
};

/// One thing that is wrong: the key ("parallel.tp"), and what is wrong with it, with the legal values.
struct ConfigProblem {
  std::string key;
  std::string message;
  std::vector<std::string> other_keys;  ///< what it also depends on: moot while one of these could not be read
};

/// Checks values against each other and against the number of ranks; returns every problem, in key order. Each value
/// alone must be within its bounds: Error(kInternal) for one that the checks divide by and that is not.
std::vector<ConfigProblem> validate(const Config& config, int ranks);
/// What is odd in a configuration that validate() finds legal, and that runs as it asks: a short test of a long run is
/// of that kind.
std::vector<ConfigProblem> doubts(const Config& config);
/// The most tensor-parallel ranks that may share this model: each has whole heads and as many columns of the FFN. Legal
/// are the divisors of this number: "1, 2, 4".
int64_t most_tensor_parallel(const ModelConfig& model);
std::string legal_tensor_parallel(const ModelConfig& model);
/// What validate() says about the model alone (used when a model comes from a file).
std::vector<ConfigProblem> validate(const ModelConfig& model);

}  // namespace retain
