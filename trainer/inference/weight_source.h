// The weights of a model where they lie, in a checkpoint of any mesh or in a folder of another library, and how a model
// gets them: each byte is read once, or a few at the borders of blocks twice, in long runs by several threads, while
// what was read before goes to the device. Host memory besides is two windows, whatever the model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "trainer/checkpoint/reader.h"
#include "trainer/interop/model_import.h"
#include "trainer/model/parameters.h"

namespace retain {

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// float32 or float64: what it gives.
  virtual DType dtype() const = 0;
  using Job = std::function<void()>;
  /// What fills `into`, share.size() elements of dtype(), with the share's part of the placements; padding stays as it
  /// is. Any thread may do each job, in this order best; the source and `into` outlive them. A job throws Error(kData)
  /// for bytes that are damaged, Error(kIo).
  virtual std::vector<Job> fill(const std::vector<TensorPlacement>& placements, const ReplicaShare& share,
                                void* into) const = 0;
};

/// The masters of a checkpoint: of the blocks that hold what is asked for, and of no other, each is verified while it
/// is read. The checkpoint outlives it.
std::unique_ptr<WeightSource> weights_of(const Checkpoint& checkpoint);
/// Of a folder that read_model_folder() has checked, which outlives it.
std::unique_ptr<WeightSource> weights_of(const ImportedModel& model);

/// So many threads keep a fast disk busy.
int default_reading_threads();

/// A share of the placements, in the order of the flat buffer. Throws as the source does.
void read_share(const WeightSource& source, const std::vector<TensorPlacement>& placements, const ReplicaShare& share,
                void* into, int threads = default_reading_threads());

/// This tp rank's weights of the model that `parameters` is laid out for; of rows that are cut over tp its own alone
/// are read. Throws as the source does. Not collective.
void load_weights(const WeightSource& source, Backend& backend, ParameterStore& parameters,
                  int threads = default_reading_threads());

}  // namespace retain
