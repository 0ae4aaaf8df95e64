// The norm before a part of the model, and the residual stream that it reads: x = stream + branch, u = RMSNorm(x; w)
// (kernels/README.md#block). Adding the branch is part of the norm, which reads the stream anyway. A rank of the tp
// axis does this for its own rows (parallel/sequence_parallel.h); u is gathered for the part, and du is what all of
// them sum.
#pragma once

#include <string>

#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"

namespace retain {

/// The residual stream between two parts, the sum of both.
struct Residual {
  TensorView stream;  ///< compute [own_rows,d]; absent before the first block
  TensorView branch;  ///< compute [padded_rows,d]: what the part before left to be added; own rows alone are read
};

class StreamNorm {
 public:
  StreamNorm(const Declarations& declare, const std::string& name, const ModelConfig& model,
             const Scaling& scaling = {})
      : weight_(declare.norm(name, model.hidden_size, ParameterUse::kNorm, scaling)) {}

  /// Takes each from the arena of its name.
  void take_memory(Arena& x, Arena& rstd, Arena& u, const Dimensions& dims);

  const TensorView& x() const { return x_; }
  const TensorView& u() const { return u_; }

  /// Of a chunk of rows: x, and u, which begins to be gathered.
  Pending forward(const Pass& pass, const Residual& in, int64_t chunk) const;
  /// u of a chunk again, from x.
  Pending repeat(const Pass& pass, int64_t chunk) const;

  /// Once each chunk of du [padded_rows,d], the gradient of u, is reduced: dx [padded_rows,d] = the gradient of x by u,
  /// plus dx as it was if there is a `residual`, which begins to be gathered. du may be dx when there is no residual.
  RowExchange backward(const Pass& pass, RowExchange reduced, const TensorView& du, const TensorView& dx,
                       bool residual) const;

 private:
  Parameter weight_;
  TensorView x_;     ///< compute [own_rows,d]
  TensorView u_;     ///< compute [padded_rows,d]
  TensorView rstd_;  ///< accumulate [own_rows]
};

}  // namespace retain
