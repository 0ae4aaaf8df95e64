// The look-up tables of a model's retention layers: the rotation of q and k, and the decay of each head.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "trainer/model/dimensions.h"

namespace retain {

/// By which angle a position turns each of the K/2 pairs of a head. rope: θ_j = 10000^(−2j/K); torchscale:
/// θ_j = 10000^(−j/(K/2−1)). kernels/README.md#rotation.
std::vector<double> rotation_frequencies(Rotary rotary, int64_t key_dim);

/// log2 γ of heads [first, first + count) of the model's `heads`. eq8: γ_h = 1 − 2^(−5−h);
/// paper_exp: γ_h = 1 − exp(linspace(ln 1/32, ln 1/512, heads))_h. By log1p in float64. kernels/README.md#decay.
std::vector<double> log2_gammas(Decay decay, int64_t heads, int64_t first, int64_t count);

/// The tables of all layers on this rank. Layers whose decays are equal share one.
class RetentionTables {
 public:
  /// Memory for the tables of a model; write() fills it.
  void take(Arena& arena, const Dimensions& dims);
  void write(Backend& backend, int64_t position_offset) const;
  /// The rotation for a segment that begins at this position, computed on the device in the order of its queue.
  void set_position_offset(Backend& backend, int64_t offset) const;

  /// Of the first rows: each row's own position, int32 [rows].
  void set_positions(Backend& backend, const TensorView& positions) const;

  /// accumulate [T, K/2, 2] for the positions of this rank's segment
  TensorView rotation() const { return rotation_; }
  /// float64 [H] of this rank's heads
  TensorView log2_gamma(int64_t layer) const { return decays_[decay_of_layer_[layer]].view; }

 private:
  struct DecayTable {
    std::vector<double> log2_gammas;
    TensorView view;
  };
  Rotary rotary_ = Rotary::kRope;
  TensorView frequencies_;  ///< float64 [K/2]
  TensorView rotation_;
  std::vector<DecayTable> decays_;
  std::vector<size_t> decay_of_layer_;
};

}  // namespace retain
