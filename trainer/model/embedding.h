// Token embedding with the vocabulary cut over tp, its scale, and the optional norm (kernels/README.md#embedding).
#pragma once

#include <vector>

#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"

namespace retain {

class Embedding {
 public:
  /// The name of its matrix, which a tied head uses too.
  static constexpr const char* kWeight = "embeddings.weight";

  Embedding(const Declarations& declare, const ModelConfig& model);

  void take_saved(Arena& arena, const Dimensions& dims);

  /// x [padded_rows,d], of which own rows are the sum over the ranks. The pass outlives the stages.
  std::vector<RowStage> forward(const Pass& pass, const TensorView& x) const;
  /// From dx [padded_rows,d], gathered, which is changed when there is a norm; gradients are added to.
  void backward(const Pass& pass, const TensorView& dx) const;

 private:
  struct Saved {
    TensorView x;     ///< compute [padded_rows,d]: before the norm
    TensorView rstd;  ///< accumulate [own_rows]
  };

  void norm_backward(const Pass& pass, const TensorView& dx) const;

  bool normed_;
  Parameter table_, norm_;
  Saved saved_;  ///< with a norm only
};

}  // namespace retain
