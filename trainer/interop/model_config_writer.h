// Our configuration of a model as config.json of fla's RetNet or of torchscale's RetNetDecoder: what
// model_config_json.h reads.
#pragma once

#include <string>

#include "kernels/core/dtype.h"
#include "trainer/config.h"
#include "trainer/interop/model_config_json.h"

namespace retain {

/// Throws Error(kConfig) naming every key for which that layout has no model that computes the same.
void refuse_inexact(const ModelConfig& model, ForeignLayout layout);

/// The model that is left for the other library to compute: torchscale's norm of heads has no weight, which goes into
/// the columns of o_proj, so that the results are the same.
ModelConfig exported_model(const ModelConfig& model, ForeignLayout layout);

/// Of a model that refuse_inexact() lets pass. `dtype`: of the weights.
std::string format_foreign_config(const ModelConfig& model, ForeignLayout layout, const ForeignText& text, DType dtype);

}  // namespace retain
