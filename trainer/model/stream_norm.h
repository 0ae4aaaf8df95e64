// The norm before a part of the model, and the residual stream that it reads: x = stream + branch, u = RMSNorm(x; w)
// (kernels/README.md#block). Adding the branch is part of the norm, which reads the stream anyway. A rank of the tp
// axis does this for its own rows (parallel/sequence_parallel.h); u is gathered for the part, and du is what all of
// them sum.
#pragma once

#include <functional>

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
  StreamNorm(const Declarations& declare, const std::string& name, const ModelConfig& model)
      : weight_(declare.norm(name, model.hidden_size)) {}

  /// Takes x and rstd, then u.
  void take_memory(Arena& x, Arena& rstd, Arena& u, const Dimensions& dims);

  const TensorView& x() const { return x_; }
  const TensorView& u() const { return u_; }

  /// Of a chunk of rows: x, and u, which begins to be gathered.
  Pending forward(const Pass& pass, const Residual& in, int64_t chunk) const;
  /// u of a chunk again, from x.
  Pending repeat(const Pass& pass, int64_t chunk) const;

  /// What is queued while an exchange is under way: reads neither what it moves nor dx.
  using Meanwhile = std::function<void()>;
  /// dx [padded_rows,d] = the gradient of x by u, plus dx as it was if there is a `residual`, gathered. du
  /// [padded_rows,d]: this rank's terms of the gradient of u; may be dx when there is no residual. `under_reduce` may
  /// read dx as it was.
  void backward(const Pass& pass, const TensorView& du, const TensorView& dx, bool residual,
                const Meanwhile& under_reduce = {}, const Meanwhile& under_gather = {}) const;

 private:
  Parameter weight_;
  TensorView x_;     ///< compute [own_rows,d]
  TensorView u_;     ///< compute [padded_rows,d]
  TensorView rstd_;  ///< accumulate [own_rows]
};

}  // namespace retain
