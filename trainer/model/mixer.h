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

  // The forward: of each chunk of rows what comes before the mixing, then the mixing, then of each chunk the rest.

  /// From u [padded_rows,d].
  virtual void enter(const Pass& pass, const TensorView& u, int64_t chunk) const = 0;
  /// Of all rows; u is still there for what enter() left to do under an exchange.
  virtual void mix(const Pass& pass, const TensorView& u) const = 0;
  /// z [padded_rows,d]: this rank's terms of the output.
  virtual void leave(const Pass& pass, const TensorView& z, int64_t chunk) const = 0;
  /// What the forward took from ActivationMemory::elementwise(), again from the rest.
  virtual void repeat_elementwise(const Pass& pass) const = 0;

  // The backward: what others wait for first. Parameter gradients as pass.gradients says.

  /// du [n,d], this rank's terms, from dz [n,d]; the forward's u [n,d] for what is computed under an exchange already.
  virtual void backward(const Pass& pass, const TensorView& dz, const TensorView& u, const TensorView& du) const = 0;
  /// Then the gradients of the matrices of leave(), and of enter() from the forward's u [n,d].
  virtual void leave_gradient(const Pass& pass, const TensorView& dz) const = 0;
  virtual void enter_gradient(const Pass& pass, const TensorView& u) const = 0;
};

/// The mixer of a layer. `declare` names from "layers.N." on; the tables outlive the mixer.
std::unique_ptr<Mixer> make_mixer(const Declarations& declare, const ModelConfig& model, int64_t layer,
                                  const RetentionTables& tables);

}  // namespace retain
