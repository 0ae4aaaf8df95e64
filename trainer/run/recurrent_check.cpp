#include "trainer/run/recurrent_check.h"

#include <cmath>

namespace retain {

double recurrent_limit(DType compute) {
  switch (compute) {
    case DType::kFloat64: return 1e-9;
    case DType::kBfloat16: return 2e-3;
    default: return 1e-4;
  }
}

std::optional<RecurrentCheck> check_recurrent_form(Backend& backend, Mesh& mesh, RetNet& model,
                                                   const EvalWindows& windows, const DeviceBatch& memory,
                                                   const std::function<bool()>& asked_to_stop) {
  const EvalWindows first = windows.first_batch();
  const auto loss_in = [&](RetentionForm form) {
    return evaluate(backend, mesh, model, first, memory, form, asked_to_stop);
  };
  const EvalResult recurrent = loss_in(RetentionForm::kRecurrent);
  if (!recurrent.complete || recurrent.tokens == 0) return std::nullopt;
  const EvalResult chunkwise = loss_in(RetentionForm::kChunkwise);
  if (!chunkwise.complete || !std::isfinite(chunkwise.loss)) return std::nullopt;
  return RecurrentCheck{.difference = recurrent.loss - chunkwise.loss, .tokens = recurrent.tokens};
}

}  // namespace retain
