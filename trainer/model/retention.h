// Multi-scale retention: MSR(u) = (silu(g) ⊙ GroupNorm(Retention(q, k, v))) W_Oᵀ (paper Eq. 8; spec.md 1.3-1.6).
// Tensor parallel: the heads of q, k, v, g and the columns of W_O are cut; the output is summed over tp.
// Context parallel: the state enters from the segment before (spec.md 4.3).
#pragma once

#include "trainer/model/context.h"
#include "trainer/model/parameters.h"

namespace retain {

class RetentionLayer {
 public:
  /// What the backward needs of the forward. compute unless said.
  struct Saved {
    TensorView qkvg;      ///< [n, 2HK+2HV]: q, k rotated (and folded), v, g
    TensorView states;    ///< [B,N,H,K,V]: before each chunk; absent when not training
    TensorView state_in;  ///< accumulate [B,H,K,V]: what came from the segment before; absent without cp
    TensorView o;         ///< [B,T,H,V]
    TensorView rstd;      ///< accumulate [B,T,H]
    TensorView y;         ///< [n, HV]: input of W_O
  };
  /// Memory used inside one call.
  struct Scratch {
    TensorView dqkvg;       ///< [n, 2HK+2HV]
    TensorView dy;          ///< [n, HV]
    TensorView gathered;    ///< accumulate [P,B,H,K,V]: what each segment contributes; with cp only
    TensorView dstate_out;  ///< accumulate [B,H,K,V]; with cp only
  };
  static Saved take_saved(Arena& arena, const Dimensions& dims, Residency residency);
  static Scratch take_scratch(Arena& arena, const Dimensions& dims, Residency residency);

  RetentionLayer(const ParameterStore& parameters, int64_t layer, Residency residency);

  /// z [n,d] = MSR(u [n,d]).
  void forward(const Context& ctx, const TensorView& u, const TensorView& z, Saved& saved,
               const Scratch& scratch) const;
  /// du [n,d] from dz [n,d]; parameter gradients as ctx.gradients says.
  void backward(const Context& ctx, const TensorView& dz, const TensorView& u, const Saved& saved,
                const Scratch& scratch, const TensorView& du) const;

 private:
  RetentionContext retention_context(const Context& ctx) const;

  int64_t layer_;
  TensorView qkvg_weight_, qkvg_gradient_, o_weight_, o_gradient_, group_norm_weight_, group_norm_gradient_;
};

}  // namespace retain
