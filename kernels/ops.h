// One argument struct per operation of the model, with its contract: shapes, formula, whether results are
// assigned or accumulated, and the source of the formula. check() refuses wrong arguments before a backend runs.
//
// Shape legend: B sequences, T tokens of a sequence on this rank, n = B*T, d hidden size, H heads on this rank,
// K key width of a head, V value width of a head, F FFN width on this rank, C chunk, N = ceil(T / C) chunks,
// P ranks of an axis.
// Types: "compute" is the type of activations and weights (float32 or float64 on CPU; bfloat16 or float32 on CUDA),
// "accumulate" that of gradients, states, statistics and master weights: float32, or float64 when compute is float64.
// Every view has stride 1 in its last dim; other strides are free unless "contiguous" is said.
// Law: a backward operation assigns the gradients of activations and adds to those of parameters (dweight). Gradients
// of matrices are products: matmul adds or assigns as its beta says, and assigns in the first micro-batch of a step.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "kernels/core/tensor.h"

namespace retain {

/// c = alpha * op(a) op(b) + beta * c.
/// a [M,K] (or [K,M] if transpose_a), b [K,N] (or [N,K] if transpose_b), compute; c [M,N], compute or accumulate.
/// With beta == 0, c is written without being read.
struct MatmulArgs {
  TensorView a{}, b{}, c{};
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;
};

/// x_i = scale * weight[token_i - first_row], or zeros when the token is outside this rank's rows.
/// tokens int32 [n]; weight compute [rows, d]; x compute [n, d], assigned. drawn int32 [places] and places int32 [n],
/// optional, both: a negative token_i stands for drawn[places_i]. kernels/README.md#embedding.
struct EmbeddingArgs {
  TensorView tokens{}, weight{}, x{}, drawn{}, places{};
  int64_t first_row = 0;
  double scale = 1;
};

/// dweight[token_i - first_row] += scale * dx_i for tokens of this rank's rows, summed in ascending i.
/// token_order int32 [n]: the positions 0..n-1 stably sorted by token (a fixed order needs no atomics);
/// dx compute [n, d]; dweight accumulate [rows, d].
struct EmbeddingBackwardArgs {
  TensorView tokens{}, token_order{}, dx{}, dweight{};
  int64_t first_row = 0;
  double scale = 1;
};

/// s = x + residual (if given);  y = weight ⊙ s · rstd,  rstd = (mean_j s_j² + eps)^(-1/2), statistics in accumulate.
/// x, residual, sum, y compute [n, d]; weight accumulate [d]; rstd accumulate [n]. sum (given iff residual is) may
/// alias x or residual. All assigned. kernels/README.md#block.
struct RmsNormArgs {
  TensorView x{}, residual{}, weight{}, sum{}, y{}, rstd{};
  double eps = 1e-6;
};

/// dx = dresidual + rstd (w⊙dy − x̂ mean(w⊙dy⊙x̂)),  dweight += Σ_n dy⊙x̂,  x̂ = x·rstd.
/// dy, x, dresidual (optional), dx compute [n, d]; dx may alias dresidual or dy; dweight accumulate [d].
/// kernels/README.md#block.
struct RmsNormBackwardArgs {
  TensorView dy{}, x{}, weight{}, rstd{}, dresidual{}, dx{}, dweight{};
};

/// table[t, j] = (cos, sin) of (offset + t) · theta_j, or of positions_t · theta_j, the product and both functions in
/// float64, rounded once. theta float64 [K/2] contiguous; positions int32 [T], optional; table accumulate [T, K/2, 2]
/// contiguous, assigned. kernels/README.md#rotation.
struct RotationTableArgs {
  TensorView theta{}, table{}, positions{};
  int64_t offset = 0;  ///< position of the first row; offset + T at most 2^53
};

/// Rotates pair (j, j + K/2) of each head by ± the angle of the token's row of `table`, times scale, times the folded
/// decay.
///   a' = a cos − b sin,  b' = b cos + a sin          (sin negated when inverse)
/// and y = scale · γ_h^(fold_sign · (t mod fold_chunk)) · rotated x; fold_chunk = 0 folds nothing.
/// x, y compute [B,T,H,K], y may alias x exactly; table accumulate [T, K/2, 2] = (cos, sin), contiguous;
/// log2_gamma float64 [H] (needed when folding). Assigned. kernels/README.md#rotation, #folding.
/// The backward is the same with inverse = true and the same scale and fold.
struct RotateArgs {
  TensorView x{}, y{}, table{}, log2_gamma{};
  bool inverse = false;
  double scale = 1;
  int64_t fold_chunk = 0;
  int fold_sign = 0;
};

enum class RetentionForm : uint8_t { kParallel, kChunkwise, kRecurrent };

/// What all retention operations share.
/// log2_gamma float64 [H], of the global heads. document_start int32 [B,T], optional: the position (in the whole
/// sequence) at which the token's document starts; position_offset: the position of this segment's first token.
/// A token sees key s iff s >= its document's start; it sees the incoming state iff its document started before
/// position_offset. folded_chunk > 0 says that q and k carry γ^(t mod folded_chunk) and γ^-(t mod folded_chunk).
struct RetentionContext {
  TensorView log2_gamma{}, document_start{};
  int64_t position_offset = 0;
  int64_t folded_chunk = 0;
  RetentionForm form = RetentionForm::kChunkwise;
  int64_t chunk = 0;  ///< C; with folding it equals folded_chunk
};

/// S_n = γ S_{n−1} + k_nᵀ v_n,  o_n = q_n S_n, S before the first token = state_in or 0. kernels/README.md#retention.
/// q, k compute [B,T,H,K] (rotated, k scaled by K^-½), v, o compute [B,T,H,V]; state_in, state_out (optional)
/// accumulate [B,H,K,V] contiguous, in the scale of the formula whatever is folded. states (optional, chunkwise only)
/// compute [B,N,H,K,V] contiguous: receives the state before each chunk for the backward, in the backend's own scale;
/// or, with states_given, holds it already (retention_state has computed it with this state_in, or retention_add_state
/// has added that), so that it need not be computed; state_out is then absent. Assigned.
struct RetentionArgs {
  RetentionContext context{};
  TensorView q{}, k{}, v{}, state_in{}, o{}, state_out{}, states{};
  bool states_given = false;
};

/// Gradient of RetentionArgs' operation (chunkwise form whatever context.form says).
/// kernels/README.md#retention-backward. q, k, v, state_in, states as in the forward (states optional: recomputed when
/// absent); dout [B,T,H,V]; dstate_out (optional) accumulate; dq, dk, dv like q, k, v (with respect to the operands as
/// given, folded or not); dstate_in (optional) accumulate. Assigned. dstates (optional): the gradient of the state
/// after each chunk, which retention_state_gradient has computed and to which retention_add_state has added dstate_out,
/// so that it need not be computed; dstate_in is then absent.
struct RetentionBackwardArgs {
  RetentionContext context{};
  TensorView q{}, k{}, v{}, state_in{}, states{}, dout{}, dstate_out{}, dq{}, dk{}, dv{}, dstate_in{}, dstates{};
};

/// The states of a segment: state (optional) is the one that it leaves, γ^T state_in (where no document starts inside)
/// + Σ_t γ^(T−1−t) k_tᵀ v_t over the tokens of the last document; accumulate [B,H,K,V] contiguous, as is state_in
/// (optional: 0). states (optional) as in RetentionArgs. Assigned. kernels/README.md#segments.
struct RetentionStateArgs {
  RetentionContext context{};
  TensorView k{}, v{}, state_in{}, state{}, states{};
};

/// The gradient that the segment gives its incoming state when none comes from behind: W = Σ_t γ^(t+1) q_tᵀ dout_t over
/// the tokens whose document started before the segment. dstate accumulate [B,H,K,V] contiguous; dstates (optional)
/// compute [B,N,H,K,V] contiguous: receives the gradient of the state after each chunk, in the backend's own scale.
/// Assigned. kernels/README.md#segments.
struct RetentionStateGradientArgs {
  RetentionContext context{};
  TensorView q{}, dout{}, dstate{}, dstates{};
};

/// Adds to the states before each chunk of a segment, computed from zero, what a state before the segment gives them;
/// or, reverse, to the gradients of the states after each chunk what a gradient of the state after the segment does:
///   states_c += γ^(cC) state                    for the chunks before which no document starts in the segment
///   states_c += γ^(T−min(T,(c+1)C)) state       for the chunks behind which none does (reverse)
/// in the backend's own scale: they become what they are with `state` as state_in (dstate_out). states compute
/// [B,N,H,K,V] contiguous, of `tokens` = T tokens; state accumulate [B,H,K,V] contiguous. kernels/README.md#segments.
struct RetentionAddStateArgs {
  RetentionContext context{};
  TensorView state{}, states{};
  int64_t tokens = 0;
  bool reverse = false;
};

/// Joins the segments of a sequence cut over P ranks: forward gives rank p the state before its segment,
///   S(0) = boundary or 0,  S(p+1) = γ^L carry(p) S(p) + U_p,  result = S(P);
/// reverse gives it the gradient of the state after its segment,
///   G(P−1) = boundary or 0,  G(p−1) = γ^L carry(p) G(p) + W_p,  result = G(−1).
/// gathered accumulate [P,B,H,K,V], carry float32 [P,B] (1 if no document starts inside segment p, else 0), L tokens a
/// segment; state, boundary, result accumulate [B,H,K,V], the last two optional and perhaps the same; state and result
/// are assigned. kernels/README.md#segments.
struct SegmentScanArgs {
  TensorView gathered{}, carry{}, log2_gamma{}, state{}, boundary{}, result{};
  int64_t segment_tokens = 0;
  int64_t rank = 0;
  bool reverse = false;
};

enum class GroupNormEps : uint8_t { kConst, kRowsum };

/// The norm of each head and the swish gate. kernels/README.md#head-norm-and-gate.
///   ô = o · rstd,  rstd = (mean_j o_j² + eps_nh)^(-1/2) over the V values of one head,  y = silu(g) ⊙ (weight ⊙ ô)
///   eps_nh = eps (kConst) or eps · (1 − γ^m)/(1 − γ) with m tokens since the document's start, this one included
///   (kRowsum).
/// o, g compute [B,T,H,V]; weight accumulate [V], optional; y compute [B,T,H,V]; rstd accumulate [B,T,H] contiguous.
/// Assigned.
struct HeadNormGateArgs {
  TensorView o{}, g{}, weight{}, log2_gamma{}, document_start{}, y{}, rstd{};
  int64_t position_offset = 0;
  GroupNormEps eps_kind = GroupNormEps::kConst;
  double eps = 1e-6;
};

/// One token more for each of n sequences, whose states lie in slots: q, k [n,H,K] as projected are rotated by the row
/// of `table`, k scaled by K^-½, and then, of row i and its slot,
///   S = γ S + kᵀ v,  o = q S,  y = silu(g) ⊙ (weight ⊙ ô)
/// with the norm ô and its epsilon as in HeadNormGateArgs. Nothing is rounded between but S.
/// v, g, y compute [n,H,V]; table accumulate [n, K/2, 2] contiguous; weight accumulate [V], optional; log2_gamma
/// float64 [H]; states accumulate [slots,H,K,V] contiguous, changed in place; slots int32 [n], each at most once: a row
/// whose slot is negative changes no state and its y is zero; positions int32 [n]: tokens that the sequence has already
/// (kRowsum alone reads them). y is assigned. kernels/README.md#decoding.
struct RetentionStepArgs {
  TensorView q{}, k{}, v{}, g{}, table{}, log2_gamma{}, weight{}, states{}, slots{}, positions{}, y{};
  GroupNormEps eps_kind = GroupNormEps::kConst;
  double eps = 1e-6;
};

/// dg = dy ⊙ ŷ ⊙ silu'(g),  dô = dy ⊙ silu(g) ⊙ weight,  dout = rstd (dô − ô mean_j(dô_j ô_j)),
/// dweight += Σ_{n,h} dy ⊙ silu(g) ⊙ ô. kernels/README.md#head-norm-and-gate. dy, o, g, dout, dg [B,T,H,V]; dout may
/// alias dy or o, dg may alias g.
struct HeadNormGateBackwardArgs {
  TensorView dy{}, o{}, g{}, weight{}, rstd{}, dout{}, dg{}, dweight{};
};

enum class FfnKind : uint8_t { kSwiglu, kGeglu, kGelu };

/// h = silu(a) ⊙ b (kSwiglu), gelu(a) ⊙ b (kGeglu), gelu(a) (kGelu; b absent); gelu with the exact erf.
/// a, b, h compute [n, F]. Assigned. kernels/README.md#ffn.
struct FfnActivationArgs {
  FfnKind kind = FfnKind::kSwiglu;
  TensorView a{}, b{}, h{};
};

/// da = dh ⊙ b ⊙ act'(a), db = dh ⊙ act(a). da may alias a, db may alias b. Assigned.
struct FfnActivationBackwardArgs {
  FfnKind kind = FfnKind::kSwiglu;
  TensorView dh{}, a{}, b{}, da{}, db{};
};

/// A product with what lies around it, for the few rows of decoding: y [+]= act(norm(x) Wᵀ),
///   norm(x) = norm ⊙ x · (mean_j x_j² + eps)^(-1/2)  where norm is given, else x;
///   act as in FfnActivationArgs of (a, b) = the two halves of the product's columns (kGelu: of all), where given.
/// x compute [n, in]; norm accumulate [in]; weight compute [out, in]; y compute [n, out], or [n, F] of an activation;
/// added to where `adds`, which an activation excludes, else assigned. Memory that backends may use on the way: normed
/// compute [n, in] and rstd accumulate [n] where there is a norm, product compute [n, out] where there is an
/// activation. kernels/README.md#decoding.
struct ProjectArgs {
  TensorView x{}, norm{}, weight{}, y{}, normed{}, rstd{}, product{};
  std::optional<FfnKind> activation{};
  bool adds = false;
  double eps = 1e-6;
};

/// Draws a token for each row from its logits z, read in float32:
///   weight_j = 2^40 exp((z_j − max z) / temperature) in whole numbers (kernels/core/sampling.h), 0 where it is below
///   1, where drawable_j is 0 or z_j is -infinity; token j is kept if it is the likeliest, or if fewer than top_k are
///   likelier (0: any number), those together have less than top_p of all weight, and weight_j ≥ min_p · 2^40;
///   of those kept one is drawn, each as likely as its weight says.
/// As likely ones are kept together. Temperatures below 1e-6 take the likeliest token, the first of several. Whole
/// numbers have no rounding: equal logits give equal tokens on every backend. The random numbers are those of the row's
/// key at its position. -1 is drawn where there is nothing to draw or a logit is NaN or +infinity.
/// logits compute [n, vocab]; drawable uint8 [vocab], optional; options float32 [n,3] contiguous = (temperature, top_p,
/// min_p); top_k int32 [n]; keys int32 [n,2] contiguous = the low and the high half; positions int32 [n]; places int32
/// [n], each at most once; tokens int32 [places], of which tokens[places_i] is assigned, and nothing where places_i is
/// negative. A rejection sampler: FlashInfer's (Ye et al. 2025), in whole numbers. kernels/README.md#decoding.
struct SampleTokensArgs {
  TensorView logits{}, drawable{}, options{}, top_k{}, keys{}, positions{}, places{}, tokens{};
};

/// Statistics of this rank's columns of the logits: for each row (max_j z_j, Σ_j exp(z_j − max), z_target or 0 when the
/// target is elsewhere). logits compute [n, columns], of which the first `valid` are real and the rest padding;
/// targets int32 [n] in whole-vocabulary numbering, negative = ignored; statistics accumulate [n, 3] contiguous,
/// assigned.
struct CrossEntropyStatisticsArgs {
  TensorView logits{}, targets{}, statistics{};
  int64_t first_column = 0;
  int64_t valid = 0;
};

/// loss_i = logsumexp − z_target over the whole vocabulary, 0 for ignored rows; and in place of the logits their
/// gradient
///   dlogits = scale · (softmax − onehot), 0 for ignored rows and padding columns (unless gradient is false: logits
///   stay).
/// scale float64 [1], optional: 1. gathered accumulate [P, n, 3]: the statistics of all ranks; absent when this rank
/// holds the whole vocabulary, and then the logits are read once. loss accumulate [n], assigned.
/// kernels/README.md#cross-entropy.
struct CrossEntropyArgs {
  TensorView logits{}, targets{}, gathered{}, loss{};
  int64_t first_column = 0;
  int64_t valid = 0;
  TensorView scale{};
  bool gradient = true;
};

/// y += x. x bfloat16 [N], y float32 or float64 [N], both contiguous.
struct AddArgs {
  TensorView x{}, y{};
};

enum class ReduceKind : uint8_t { kSum, kSumOfSquares };

/// out = [out +] Σ x or Σ x², in a fixed order. x accumulate or compute, any contiguous shape; out float64 [1].
struct ReduceArgs {
  ReduceKind kind = ReduceKind::kSum;
  TensorView x{}, out{};
  bool accumulate = false;
};

/// From the sum of squares of the gradient and the loss, without leaving the device: norm = √sum_of_squares,
/// scale = min(1, max_norm / norm), or 1 when max_norm is 0 (no clipping); NaN when norm or loss is not finite or above
/// its limit: nothing is to be updated then.
/// All float64 [1]; loss may be absent. limits float64 [2], optional: of the norm and of the loss.
struct ClipScaleArgs {
  TensorView sum_of_squares{}, norm{}, scale{};
  double max_norm = 0;
  TensorView loss{}, limits{};
};

/// AdamW with decoupled decay on a flat range (Loshchilov & Hutter 2019): g = gradient · grad_scale,
///   m = β1 m + (1−β1) g,  v = β2 v + (1−β2) g²,
///   master −= lr (m̂ / (√v̂ + eps) + weight_decay · master),  m̂ = m/(1−β1^step), v̂ = v/(1−β2^step).
/// gradient, master, m, v accumulate [N] contiguous; weight compute [N], assigned from master, may alias it;
/// grad_scale float64 [1]: nothing at all is changed when it is not finite. rates float64 [3]: adamw_rates().
struct AdamwArgs {
  TensorView gradient{}, master{}, m{}, v{}, weight{}, grad_scale{}, rates{};
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-8, weight_decay = 0;
};
/// What of AdamW changes from step to step: lr, 1/(1−β1^step), 1/(1−β2^step); `step` is 1 for the first update.
std::array<double, 3> adamw_rates(double lr, double beta1, double beta2, int64_t step);

/// Elements of a shard of the global matrix [global_rows, global_columns] that starts at (first_row, first_column),
/// drawn from N(0, std) with the element's global index as the counter. x accumulate [rows, columns].
struct FillNormalArgs {
  TensorView x{};
  uint64_t key = 0;
  double std = 1;
  int64_t global_columns = 0, first_row = 0, first_column = 0;
};

/// out += Σ mix(key, i, bits of x_i) modulo 2^64 over the elements, whose index i is first_index + row · row_step +
/// column. The sum does not depend on an order, nor on how a tensor is cut. mix is one to one in the bits of an
/// element: one that changes always shows; of other changes one in 2^64 does not.
///   mix(key, i, b) = y ^ (y >> 29),  y = (z ^ (z >> 32)) · 0xd6e8feb86659fd93,  z = (key + i · 0x9e3779b97f4a7c15) ^ b
/// with the bits of an element as a whole number (the increment of splitmix64, Steele et al. 2014; the multiplier of
/// Degski's mixer). x float32, float64 or bfloat16, [rows, columns] contiguous; out int32 [2]: the low and the high
/// half of the sum, at a multiple of 8 bytes.
struct FingerprintArgs {
  TensorView x{}, out{};
  uint64_t key = 0;
  int64_t first_index = 0, row_step = 0;
};

/// Of Backend::copy(): equal shapes; equal types or both floating.
void check_copy(const TensorView& dst, const TensorView& src);

// void check(const MatmulArgs&); and so on: throws Error(kInternal) that names the operation and the argument.
#define RETAIN_OPERATION(name, Args) void check(const Args&);
#include "kernels/operations.inc"

}  // namespace retain
