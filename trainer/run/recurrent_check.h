// Whether a model that is trained in chunkwise form is the same function in recurrent form, in which it is to generate.
#pragma once

#include <functional>
#include <optional>

#include "trainer/inference/evaluate.h"

namespace retain {

/// Nats that rounding alone may put between the two forms' mean losses.
double recurrent_limit(DType compute);

struct RecurrentCheck {
  double difference = 0;  ///< the recurrent form's loss less the chunkwise one's, nats a token
  int64_t tokens = 0;
};

/// On the first batch of these windows, with the model and memory of evaluate(). Nothing where it was told not to go
/// on, nothing is predicted, or the chunkwise loss is not finite: NaN is of the recurrent form alone. Collective.
std::optional<RecurrentCheck> check_recurrent_form(Backend& backend, Mesh& mesh, RetNet& model,
                                                   const EvalWindows& windows, const DeviceBatch& memory,
                                                   const std::function<bool()>& asked_to_stop);

}  // namespace retain
