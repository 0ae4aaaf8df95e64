// One micro-batch in the backend's memory, and the tables that depend on its shape.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "trainer/config.h"

namespace retain {

/// Sizes of a micro-batch on this rank.
struct BatchShape {
  int64_t sequences = 1;  ///< B
  int64_t tokens = 1;     ///< T on this rank
  int64_t segments = 1;   ///< P, ranks the sequence is cut over
  int64_t rows() const { return sequences * tokens; }
};

/// Views of a micro-batch: what the loader gives (trainer/data/loader.h), on the device.
struct DeviceBatch {
  BatchShape shape;
  int64_t position_offset = 0;  ///< position of the segment's first token in the sequence
  TensorView tokens, targets;   ///< int32 [B*T]; target < 0: ignored
  TensorView document_start;    ///< int32 [B,T], or absent: no document starts inside a sequence
  TensorView token_order;       ///< int32 [B*T]
  TensorView carry;             ///< float32 [P,B]
};

/// A batch's memory, taken from an arena (or counted by an empty one).
DeviceBatch take_batch(Arena& arena, const BatchShape& shape);

/// (cos, sin) of the rotation for positions offset .. offset + tokens: host values [tokens, K/2, 2], angles in float64.
/// rope: θ_j = 10000^(−2j/K); torchscale: θ_j = 10000^(−j/(K/2−1)). spec.md 1.3.
std::vector<double> rotation_table(Rotary rotary, int64_t key_dim, int64_t offset, int64_t tokens);

/// log2 γ of heads [first, first + count) of the model's `heads`. eq8: γ_h = 1 − 2^(−5−h);
/// paper_exp: γ_h = 1 − exp(linspace(ln 1/32, ln 1/512, heads))_h. By log1p in float64. spec.md 1.4.
std::vector<double> log2_gammas(Decay decay, int64_t heads, int64_t first, int64_t count);

/// Host float64 values to a view of float64 or float32.
void upload_rounded(Backend& backend, const TensorView& to, const std::vector<double>& values);

}  // namespace retain
