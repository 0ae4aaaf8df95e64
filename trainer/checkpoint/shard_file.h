// A shard file: one rank's part of a checkpoint, from host memory into one HDF5 file.
#pragma once

#include <array>

#include "kernels/core/activity.h"
#include "kernels/core/tensor.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/file.h"

namespace retain {

/// A share of this rank's parameters and their optimizer state: three contiguous host views of share.size() elements,
/// all float32 or all float64. Not owned. When loading, absent views (and elements in padding) are left alone.
struct FlatState {
  ReplicaShare share;
  TensorView master, m, v;
  std::vector<StateDigests> digests = {};  ///< of a save: of every placement (StateDigest), or none

  std::array<TensorView, kStates> states() const { return {master, m, v}; }
};

/// Writes `directory/name`, durably, and says what is in it. libhdf5 lays the file out in memory; the bytes are written
/// here, after the space was allocated. Throws Error(kIo); what was written stays (the caller removes the directory).
/// Each block that is written is a sign of life of `activity`, if that is given.
ShardRecord write_shard(const Path& directory, const std::string& name, int64_t step,
                        const std::vector<TensorPlacement>& placements, const FlatState& state,
                        Activity* activity = nullptr);

/// Writes a new durable file of these bytes and gives its record.
FileRecord write_recorded_file(const Path& directory, const std::string& name, const std::vector<char>& bytes);

}  // namespace retain
