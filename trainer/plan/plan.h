// What a run is going to be, as pure functions of the configuration and the number of ranks: sizes, FLOPs, memory by
// part, bytes exchanged. The trainer allocates by the same dimensions, so a plan and a run cannot differ.
#pragma once

#include <string>
#include <vector>

#include "trainer/data/dealing.h"
#include "trainer/model/retnet.h"
#include "trainer/plan/exchange.h"

namespace retain {

/// The device and types of a run, resolved from `auto`.
struct Target {
  DeviceKind device = DeviceKind::kCpu;
  DType compute = DType::kFloat32;
  int threads = 1;  ///< of the CPU backend, a rank
  /// What a rank can have of its GPU: segments that are to be the longest that fit depend on it. An H200's.
  int64_t memory_bytes = int64_t{1398} * (int64_t{1} << 30) / 10;
};

/// The type as the key `precision` names it: "bf16", "fp32", "fp64".
const char* precision_name(DType compute);

/// device: auto takes the GPU when there is one; precision: auto is bf16 on cuda, fp32 on cpu.
Target resolve_target(const Config& config, bool gpu_available, int threads);

struct PlanPart {
  std::string name;
  int64_t bytes = 0;
};

struct RunPlan {
  MeshShape mesh;
  Target target;
  ParameterCounts parameters;
  double flops_per_token = 0;
  int64_t steps = 0;
  Dealing dealing;
  BatchShape shape;                 ///< of one rank's micro-batch
  int64_t chunk = 0;                ///< C of chunkwise retention
  std::vector<PlanPart> memory;     ///< of one rank, to the byte as allocated, in order of allocation
  std::vector<PlanPart> libraries;  ///< what CUDA, cuBLAS and NCCL take of a GPU besides, about; empty on a CPU
  int64_t nccl_bytes = 0;           ///< NCCL's of them, which differ most between its versions and machines
  int64_t save_bytes = 0;           ///< of the host, which one rank's checkpoints are written from and read to
  int64_t staging_bytes = 0;        ///< of the host, through which one rank's batches travel
  int64_t checkpoint_bytes = 0;  ///< of one checkpoint on disk, about: its tensors to the byte, and what describes them
  std::vector<Traffic> traffic;  ///< what the ranks exchange in one step

  int64_t memory_bytes() const;
  int64_t libraries_bytes() const;
  /// What a rank takes of its machine's memory, beside a device's.
  int64_t host_bytes() const { return save_bytes + staging_bytes; }
  /// What a rank needs of its device: both together, and on a CPU what else it takes there.
  int64_t needed_bytes() const {
    return memory_bytes() + libraries_bytes() + (target.device == DeviceKind::kCuda ? 0 : host_bytes());
  }
};

/// The part of libraries_bytes() that a process takes of a GPU before it can ask how much is free.
extern const int64_t kCudaContextBytes;

/// Tokens of the segments in which sequences are trained, over all cp ranks: of the whole sequence, what
/// train.segment_tokens says, or with auto whole chunks of every rank: on a GPU the longest with which a rank needs at
/// most target.memory_bytes, or, where none does, those with which it needs least.
int64_t segment_tokens(const Config& config, const MeshShape& mesh, const Target& target);

/// The sizes that the layers of this rank work with. Throws ConfigError(kConfig) when the device would not take
/// train.chunk.
Dimensions make_dimensions(const Config& config, const MeshShape& mesh, int tp_rank, const Target& target);

/// The plan of every rank: all allocate alike, however unevenly micro-batches, heads or the vocabulary are cut, because
/// each has room for the most that one of them has.
RunPlan make_plan(const Config& config, int ranks, const Target& target);

}  // namespace retain
