// Token embedding with the vocabulary cut over tp, its scale, and the optional norm (kernels/README.md#embedding).
#pragma once

#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"

namespace retain {

class Embedding {
 public:
  /// The name of its matrix, which a tied head uses too.
  static constexpr const char* kWeight = "embeddings.weight";

  Embedding(const Declarations& declare, const ModelConfig& model);

  void take_saved(Arena& arena, const Dimensions& dims);

  /// x [n,d]
  void forward(const Pass& pass, const TensorView& x) const;
  /// From dx [n,d], which is changed when there is a norm; gradients are added to.
  void backward(const Pass& pass, const TensorView& dx) const;

 private:
  struct Saved {
    TensorView x;     ///< compute [n,d]: before the norm
    TensorView rstd;  ///< accumulate [n]
  };

  bool normed_;
  Parameter table_, norm_;
  Saved saved_;  ///< with a norm only
};

}  // namespace retain
