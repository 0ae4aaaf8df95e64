// The norms of what each layer holds, of how it changes and of what it retains, in a step that is watched; every layout
// comes to the same numbers, as each element is counted once over all ranks. Of weights, gradients and updates they are
// taken on the host and in float64, so that little is taken of the device: the update is done in pieces meanwhile, and
// ends later by about the time in which the weights travel to the host thrice.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/config.h"
#include "trainer/model/parameters.h"
#include "trainer/model/retnet.h"

namespace retain {

class LayerNorms {
 public:
  /// Bytes of the device, where norms are asked for: of a layer's state.
  static int64_t memory_bytes(const LogConfig& log, const Dimensions& dims);

  /// The parameters, which update at least the share, outlive it. memory_bytes: as above; 0: no step is watched.
  LayerNorms(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share, const MeshCoordinate& at,
             int64_t memory_bytes);

  /// A watched step begins.
  void begin();
  /// A forward that adds what the layers have retained of its sequences. Waits for the device.
  void watch(RetNet& model, const std::function<void()>& forward);
  /// Updates the parameters of a flat range by `update`, of ranges that it is made of. Waits for the device.
  void watch(Range flat, const std::function<void(Range)>& update);
  /// What this rank has of the sums of squares of the step: for total().
  const std::vector<double>& squares() const { return squares_; }

  /// "norms/layers.0/weight" after the update, "…/gradient" before clipping and "…/update", what the weights changed
  /// by; and so of each part of the model. "norms/layers.0/state": of the state that a sequence leaves at its end, over
  /// all heads, as it was stored: the root mean square over the sequences. Collective over all ranks.
  std::vector<std::pair<std::string, double>> total(Communicator& host, std::vector<double> squares) const;

 private:
  /// Of a flat range of one layer that this rank counts.
  struct Part {
    Range flat;
    size_t layer = 0;
  };
  void add(size_t kind, const SharePiece& piece, const std::vector<double>& values);
  size_t index_of(const std::string& layer) const;

  Backend& backend_;
  const ParameterStore& parameters_;
  ReplicaShare share_;
  MeshCoordinate at_;
  Buffer memory_;
  std::vector<std::string> layers_;  ///< their names, in the order of declaration
  std::vector<Part> parts_;          ///< in flat order
  std::vector<double> squares_;      ///< [layers, kinds]
};

}  // namespace retain
