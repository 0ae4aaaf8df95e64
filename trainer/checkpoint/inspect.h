// What people ask about checkpoints; reads only, so it works while the run goes on. Everything here is for one process.
#pragma once

#include "trainer/checkpoint/reader.h"

namespace retain {

/// The step a path means: a step directory, or a run directory's newest committed step. Its manifest is checked, its
/// tensors are not. Throws Error(kMissingInput) when there is none, Error(kData).
Checkpoint open_unverified(const Path& path);

/// The steps a path means: a step directory itself, or all committed steps of a run, newest first. Throws
/// Error(kMissingInput) when there is none.
std::vector<StepEntry> find_steps(const Path& path);

struct StepSummary {
  Path path;
  int64_t step = 0;
  StepCondition condition = StepCondition::kWhole;  ///< as far as manifest and sizes tell
  std::string problem;                              ///< why it is not whole; then the rest is empty
  RunState state;
  DType dtype = DType::kFloat32;
  int64_t shards = 0, parameters = 0, bytes = 0;
};
/// Committed steps of a run, newest first.
std::vector<StepSummary> summarize_steps(const Path& run_directory);
/// The bytes of all files in the directory of a step that was set aside; 0 for a link, whose files are another's.
int64_t bytes_of(const SetAsideStep& aside);

struct VerifyReport {
  int64_t bytes = 0;
  std::vector<std::string> problems;  ///< all damage found in manifest, shards and view; empty: whole
};
/// Reads every byte of a step.
VerifyReport verify_step(const Path& step_directory);

struct TensorDigest {
  std::string name;
  std::vector<int64_t> global_shape;
  std::array<uint64_t, kStates> states{};  ///< XXH3-64 of the whole tensor's bytes, row-major, little-endian
};
struct Digest {
  std::string value;                  ///< of everything: sixteen hexadecimal digits
  std::vector<TensorDigest> tensors;  ///< in the order of their names
};
/// A hash of the state of training (step, tokens, seed, position in the data, tensors) that does not depend on the mesh
/// that wrote it nor on names of files. Verifies first: throws Error(kData).
Digest compute_digest(const Checkpoint& checkpoint);

struct TensorDifference {
  std::string name;
  std::string state;     ///< "master", "m", "v"
  int64_t elements = 0;  ///< that differ in any bit
  double largest = 0;    ///< absolute difference
  double relative = 0;   ///< Frobenius norm of the difference over that of the first
};
struct Difference {
  std::vector<std::string> keys;  ///< "step: 10, 20"; everything of the run state that differs, the mesh apart
  std::vector<std::string> only_first, only_second;  ///< tensors that only one has, or with another shape
  std::vector<TensorDifference> tensors;             ///< that differ, in the order of their names
  bool equal() const { return keys.empty() && only_first.empty() && only_second.empty() && tensors.empty(); }
};
/// Verifies both first: throws Error(kData).
Difference compare(const Checkpoint& first, const Checkpoint& second);

}  // namespace retain
