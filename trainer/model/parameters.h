// The parameters of the model as flat buffers with named views: weights (compute type), gradients, and the optimizer's
// master weights and moments (accumulate type), of which a rank keeps what it updates: with ZeRO-1 its share alone.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "parallel/gradient_reducer.h"
#include "parallel/shard.h"
#include "trainer/model/gradient_memory.h"
#include "trainer/model/parameter_layout.h"

namespace retain {

enum class Residency : uint8_t { kTraining, kInference };

class ParameterStore {
 public:
  /// `compute` is the type of the weights; `updated` what this rank updates and so keeps master, m and v of (nothing
  /// for inference); `kept` which gradients it keeps. With equal compute and accumulate types the weights are the
  /// master weights.
  ParameterStore(Backend& backend, const ParameterLayout& layout, DType compute, const ReplicaShare& updated,
                 Residency residency, GradientsKept kept = GradientsKept::kAll);

  /// Bytes by part, by the code that the constructor runs.
  struct Plan {
    int64_t weights_bytes = 0, gradients_bytes = 0, master_bytes = 0, moments_bytes = 0;
    int64_t total() const { return weights_bytes + gradients_bytes + master_bytes + moments_bytes; }
  };
  static Plan plan(const ParameterLayout& layout, DType compute, const ReplicaShare& updated, Residency residency,
                   GradientsKept kept = GradientsKept::kAll);

  const ParameterLayout& layout() const { return layout_; }
  const ReplicaShare& updated() const { return updated_; }
  DType accumulate_dtype() const { return accumulate_; }

  /// Views of one parameter, [rows, columns] or [n].
  TensorView weight(const std::string& name) const;
  TensorView gradient(const std::string& name) const;
  /// Adjacent matrices of equal width as one [sum of rows, columns]: q,k,v,g and gate,up are laid out for this.
  TensorView fused_weight(const std::string& first, const std::string& last) const;
  TensorView fused_gradient(const std::string& first, const std::string& last) const;
  /// Norm weights are read in the accumulate type: a view into a small copy kept in that type.
  TensorView norm_weight(const std::string& name) const;

  TensorView flat_weights() const { return weights_; }
  /// Gradients as backward leaves them: of everything, where all are kept, or of a bucket.
  TensorView flat_gradients() const { return gradients_.flat(); }
  TensorView bucket_gradients(size_t bucket) const { return gradients_.bucket(bucket); }
  /// The gradient of a piece of updated(), summed over the replicas.
  TensorView gradient(const SharePiece& piece) const { return gradients_.piece(piece); }
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
  /// Puts values of any floating type into a place of the flat order, wherever it is kept: weights, master, norms.
  void assign(int64_t flat_begin, const TensorView& values);
  /// After master was loaded: the weights that are updated here from it.
  void weights_from_master();
  /// After every replica updated its weights of a bucket: each begins to get all of them, and of the last bucket the
  /// norms' wide copy, beside what is queued from now on. Collective over the replicas; from the last bucket to the
  /// first, as the next forward needs them.
  void begin_gather(const GradientReducer& reducer, size_t bucket);
  /// What is queued from now on finds the weights from this place of the flat order on as they were gathered.
  void await_weights(int64_t flat_begin) const;
  /// All buckets one after the other.
  void gather_weights(const GradientReducer& reducer);

 private:
  struct Gather {
    int64_t flat_end;
    Pending pending;
  };

  /// From the beginning of one parameter to the end of another, the same or a later one.
  Range span_of(const std::string& first, const std::string& last) const;
  bool own_master() const { return compute_ != accumulate_; }
  Range wide_norms() const { return {layout_.norms.begin, layout_.flat_elements}; }

  Backend& backend_;
  ParameterLayout layout_;
  DType compute_, accumulate_;
  ReplicaShare updated_;
  Buffer weights_buffer_, master_buffer_, moments_buffer_, norms_buffer_;
  TensorView weights_, master_, moment1_, moment2_, norms_;
  GradientMemory gradients_;
  mutable std::deque<Gather> gathers_;  ///< under way; whoever reads waits first
};

}  // namespace retain
