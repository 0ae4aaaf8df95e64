// The norms of what each layer holds and of how it changes, in an update that is watched: on the host and in float64,
// so that nothing is taken of the device and every layout comes to the same numbers; each element is counted once over
// all ranks. The update is done in pieces meanwhile, and ends later by about the time in which the weights travel to
// the host thrice.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/model/parameters.h"

namespace retain {

class LayerNorms {
 public:
  /// The parameters, which update at least the share, outlive it.
  LayerNorms(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share, int tp_rank);

  /// A watched update begins.
  void begin();
  /// Updates the parameters of a flat range by `update`, of ranges that it is made of. Waits for the device.
  void watch(Range flat, const std::function<void(Range)>& update);
  /// What this rank has of the sums of squares of the update: for total().
  const std::vector<double>& squares() const { return squares_; }

  /// "norms/layers.0/weight" after the update, "…/gradient" before clipping and "…/update", what the weights changed
  /// by; and so of each part of the model. Collective over all ranks.
  std::vector<std::pair<std::string, double>> total(Communicator& host, std::vector<double> squares) const;

 private:
  /// Of a flat range of one layer that this rank counts.
  struct Part {
    Range flat;
    size_t layer = 0;
  };
  void add(size_t kind, const SharePiece& piece, const std::vector<double>& values);

  Backend& backend_;
  const ParameterStore& parameters_;
  ReplicaShare share_;
  std::vector<std::string> layers_;  ///< their names, in the order of declaration
  std::vector<Part> parts_;          ///< in flat order
  std::vector<double> squares_;      ///< [layers, kinds]
};

}  // namespace retain
