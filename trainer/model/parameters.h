// The parameters of the model as flat buffers with named views: weights (compute type), gradients, and the optimizer's
// master weights and moments (accumulate type), of which a rank keeps what it updates: with ZeRO-1 its share alone.
#pragma once

#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard.h"
#include "trainer/model/parameter_layout.h"

namespace retain {

enum class Residency : uint8_t { kTraining, kInference };

class ParameterStore {
 public:
  /// `compute` is the type of the weights; `updated` what this rank updates and so keeps master, m and v of (nothing
  /// for inference). With equal compute and accumulate types the weights are the master weights.
  ParameterStore(Backend& backend, const ParameterLayout& layout, DType compute, const ReplicaShare& updated,
                 Residency residency);

  /// Bytes by part, by the code that the constructor runs.
  struct Plan {
    int64_t weights_bytes = 0, gradients_bytes = 0, master_bytes = 0, moments_bytes = 0;
    int64_t total() const { return weights_bytes + gradients_bytes + master_bytes + moments_bytes; }
  };
  static Plan plan(const ParameterLayout& layout, DType compute, const ReplicaShare& updated, Residency residency);

  const ParameterLayout& layout() const { return layout_; }
  const ReplicaShare& updated() const { return updated_; }
  DType accumulate_dtype() const { return accumulate_; }

  /// Views of one parameter, [rows, columns] or [n].
  TensorView weight(const std::string& name) const { return view(weights_, name); }
  TensorView gradient(const std::string& name) const { return view(gradients_, name); }
  /// Adjacent matrices of equal width as one [sum of rows, columns]: q,k,v,g and gate,up are laid out for this.
  TensorView fused_weight(const std::string& first, const std::string& last) const {
    return fused(weights_, first, last);
  }
  TensorView fused_gradient(const std::string& first, const std::string& last) const {
    return fused(gradients_, first, last);
  }
  /// Norm weights are read in the accumulate type: a view into a small copy kept in that type.
  TensorView norm_weight(const std::string& name) const;

  TensorView flat_weights() const { return weights_; }
  TensorView flat_gradients() const { return gradients_; }
  /// Master weights and both moments of a piece of updated().
  TensorView master(const SharePiece& piece) const {
    return own_master() ? piece.of_share(master_) : piece.of_flat(weights_);
  }
  TensorView moment1(const SharePiece& piece) const { return piece.of_share(moment1_); }
  TensorView moment2(const SharePiece& piece) const { return piece.of_share(moment2_); }

  /// Weights as functions of (seed, name, element); moments zero. Does not depend on the mesh.
  void initialize(uint64_t seed);
  /// Writes one parameter's real rows from host values ([real_rows, columns] of this rank's box) into weights and,
  /// where it is kept here, master.
  void set_weight(const ParameterSpec& spec, const std::vector<double>& values);
  /// After master was loaded: the weights that are updated here from it.
  void weights_from_master();
  /// After every replica updated its weights: each gets all of them, and the norms' wide copy. Collective over the
  /// replicas.
  void gather_weights(const GradientReducer& reducer);

 private:
  TensorView view(const TensorView& flat, const std::string& name) const;
  TensorView fused(const TensorView& flat, const std::string& first, const std::string& last) const;
  bool own_master() const { return compute_ != accumulate_; }
  Range wide_norms() const { return {layout_.norms.begin, layout_.flat_elements}; }
  /// Puts accumulate-type values at a place of the flat order into every buffer that holds it.
  void assign(int64_t flat_begin, const TensorView& values);

  Backend& backend_;
  ParameterLayout layout_;
  DType compute_, accumulate_;
  ReplicaShare updated_;
  Buffer weights_buffer_, gradients_buffer_, master_buffer_, moments_buffer_, norms_buffer_;
  TensorView weights_, gradients_, master_, moment1_, moment2_, norms_;
};

}  // namespace retain
