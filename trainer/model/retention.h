// Multi-scale retention: MSR(u) = (silu(g) ⊙ GroupNorm(Retention(q, k, v))) W_Oᵀ (paper Eq. 8;
// kernels/README.md#block). Tensor parallel: the heads of q, k, v, g and the columns of W_O are cut; the output is
// summed over tp. Context parallel: the state enters from the segment before (kernels/README.md#segments).
#pragma once

#include "trainer/model/mixer.h"

namespace retain {

class RetentionLayer : public Mixer {
 public:
  RetentionLayer(const Declarations& declare, const ModelConfig& model, int64_t layer, const RetentionTables& tables);

  const char* name() const override { return "retention"; }

  void take_activations(const ActivationMemory& memory, const Dimensions& dims) override;
  void take_scratch(Arena& arena, const Dimensions& dims, Residency residency) override;
  /// accumulate [B,H,K,V]
  TensorView take_state(Arena& arena, const Dimensions& dims) const override;

  void enter(const Pass& pass, const TensorView& u, int64_t chunk) const override;
  void mix(const Pass& pass, const TensorView& u) const override;
  void leave(const Pass& pass, const TensorView& z, int64_t chunk) const override;
  void repeat_elementwise(const Pass& pass) const override;
  void backward(const Pass& pass, const TensorView& dz, const TensorView& u, const TensorView& du) const override;
  void leave_gradient(const Pass& pass, const TensorView& dz) const override;
  void enter_gradient(const Pass& pass, const TensorView& u) const override;

 private:
  // compute unless said
  struct Saved {
    TensorView qkvg;    ///< [n, 2HK+2HV]: q, k rotated (and folded), v, g
    TensorView states;  ///< [B,N,H,K,V]: before each chunk; absent at inference
    TensorView o;       ///< [B,T,H,V]
    TensorView rstd;    ///< accumulate [B,T,H]
    TensorView y;       ///< [n, HV]: input of W_O
  };
  struct Scratch {
    TensorView dqkvg;       ///< [n, 2HK+2HV]
    TensorView dy;          ///< [n, HV]
    TensorView gathered;    ///< accumulate [P,B,H,K,V]: what each segment contributes; with cp only
    TensorView dstate_out;  ///< accumulate [B,H,K,V]; with cp only
    TensorView dstates;     ///< [B,N,H,K,V]: gradients of the states after each chunk; with cp only
  };
  static TensorView take_chunk_states(Arena& arena, const Dimensions& dims);
  RetentionContext retention_context(const Pass& pass) const;
  /// These columns of qkvg, of one chunk of rows.
  void project(const Pass& pass, const TensorView& u, int64_t chunk, Range columns) const;
  int64_t early_columns(const Pass& pass) const;
  void project_gradient(const Pass& pass, const TensorView& u, Range columns) const;
  void gate(const Pass& pass) const;
  /// What the form keeps of the states of the chunks.
  TensorView chunk_states(const Pass& pass) const;
  /// The state before this rank's tokens, if any.
  TensorView state_in(const Pass& pass) const;
  /// Where ranks share a sequence, what comes to this one's part is found with the others, and with it what goes into
  /// the segment behind or before.
  SegmentExchange begin_states(const Pass& pass) const;
  SegmentExchange begin_gradients(const Pass& pass, const TensorView& q, const TensorView& dout) const;
  const LayerStates& states(const Pass& pass) const { return (*pass.states)[static_cast<size_t>(layer_)]; }
  void rotate(const Pass& pass, const TensorView& x, bool inverse, double scale, int fold_sign) const;

  int64_t layer_;
  const RetentionTables& tables_;
  Parameter qkvg_, o_, group_norm_;
  Saved saved_;
  Scratch scratch_;
};

}  // namespace retain
