// A layer names its parameters once, where it is constructed: it declares each and is given the views to work with.
// Without a store it is only written down what was declared, and the views are empty: the layout, the counts and the
// views of the layers come from one piece of code, as memory does from an Arena.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/tensor.h"
#include "trainer/model/parameters.h"
#include "trainer/model/scaling.h"

namespace retain {

/// The views of one parameter of this rank, or of adjacent ones as one.
struct Parameter {
  TensorView weight;    ///< compute [rows, columns], or accumulate [n] of a norm
  TensorView gradient;  ///< accumulate; absent at inference
};

class Declarations {
 public:
  /// Writes down only.
  explicit Declarations(DeclaredModel& declared) : declared_(declared) {}
  /// Gives views into a store that was laid out for the same model.
  Declarations(DeclaredModel& declared, const ParameterStore& store, Residency residency)
      : declared_(declared), store_(&store), residency_(residency) {}

  /// The same with a longer prefix of the names ("layers.0.").
  Declarations within(const std::string& name) const;
  /// The same for another part of the model (DeclaredParameter::part).
  Declarations in_part(int64_t part) const;

  /// Matrices [out, in], so that y = x Wᵀ.
  Parameter matrix(const std::string& name, TpCut cut, int64_t rows, int64_t columns, const Scaling& scaling,
                   ParameterUse use = ParameterUse::kProduct) const;
  struct Rows {
    std::string name;
    int64_t rows;
    Scaling scaling;
  };
  /// Matrices of equal width, rows cut over tp, read as one [sum of rows, columns].
  Parameter adjacent_matrices(const std::vector<Rows>& parts, int64_t columns) const;
  /// The weight [n] of a norm (kNorm or kGroupNorm).
  Parameter norm(const std::string& name, int64_t size, ParameterUse use = ParameterUse::kNorm,
                 const Scaling& scaling = {}) const;
  /// Another layer's matrix, by its whole name, which is used in products here.
  Parameter product_with(const std::string& name) const;
  /// FLOPs of one trained token beside those of the products.
  void mixer_flops(double flops) const { declared_.mixer_flops += flops; }

 private:
  Parameter views(const std::string& first, const std::string& last, bool norm = false) const;

  DeclaredModel& declared_;
  const ParameterStore* store_ = nullptr;
  Residency residency_ = Residency::kInference;
  std::string prefix_;
  int64_t part_ = 0;
};

}  // namespace retain
