// The part of a block in which the tokens of a sequence see each other. Everything that differs between kinds of mixers
// is behind this interface: a further kind is a class of its own and a branch of make_mixer().
#pragma once

#include <memory>

#include "trainer/model/activation_memory.h"
#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"
#include "trainer/model/retention_tables.h"

namespace retain {

/// Holds views of its parameters and of memory that it was given.
class Mixer {
 public:
  virtual ~Mixer() = default;

  /// In the names of parameters: "retention" of layers.0.retention.q_proj.weight and layers.0.retention_norm.weight.
  virtual const char* name() const = 0;

  /// Takes what the backward needs of the forward.
  virtual void take_activations(const ActivationMemory& memory, const Dimensions& dims) = 0;
  /// Takes what is used inside one call; others use it between the calls.
  virtual void take_scratch(Arena& arena, const Dimensions& dims, Residency residency) = 0;
  /// Memory of what a sequence leaves to the tokens that continue it (see CarriedStates).
  virtual TensorView take_state(Arena& arena, const Dimensions& dims) const = 0;

  /// z [n,d] from u [n,d], summed over tp.
  virtual void forward(const Pass& pass, const TensorView& u, const TensorView& z) const = 0;
  /// What the forward took from ActivationMemory::elementwise(), again from the rest.
  virtual void repeat_elementwise(const Pass& pass) const = 0;
  /// du [n,d] from dz [n,d] and the forward's u; parameter gradients as pass.gradients says.
  virtual void backward(const Pass& pass, const TensorView& dz, const TensorView& u, const TensorView& du) const = 0;
};

/// The mixer of a layer. `declare` names from "layers.N." on; the tables outlive the mixer.
std::unique_ptr<Mixer> make_mixer(const Declarations& declare, const ModelConfig& model, int64_t layer,
                                  const RetentionTables& tables);

}  // namespace retain
