// The loss of a model on a named token set: windows of seq_len in order, the short last one included, spread over the
// data-parallel ranks.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "parallel/mesh.h"
#include "trainer/data/loader.h"
#include "trainer/model/retnet.h"

namespace retain {

struct EvalResult {
  double loss = 0;     ///< nats per predicted token; NaN where nothing was predicted
  int64_t tokens = 0;  ///< predicted tokens
  /// All nats, over ln 2 and the bytes of the predicted tokens' text; nothing when a token has none that is known.
  std::optional<double> bits_per_byte = {};
  /// Mean loss of the positions [2^(i−1), 2^i) of a window (bucket 0: the first position); NaN where nothing was
  /// predicted.
  std::vector<double> loss_by_position = {};
  bool complete = true;  ///< else it was told not to go on, and nothing here is of worth

  double perplexity() const;
};

/// Runs `model`, whose batch shape the windows have, over all windows in the given form of retention. `memory` holds
/// one batch (take_batch) and nothing else is allocated on the device. Collective over the mesh; every rank gets the
/// same result. `asked_to_stop` is asked before each batch: no rank goes on where one is. What a rank cannot read,
/// every rank throws as a SharedError.
EvalResult evaluate(
    Backend& backend, Mesh& mesh, RetNet& model, const EvalWindows& windows, const DeviceBatch& memory,
    RetentionForm form, const std::function<bool()>& asked_to_stop = [] { return false; });

}  // namespace retain
