// The ranks of a run as a mesh dp × cp × tp, with one communicator for each axis that exchanges tensors of the
// backend, and one over host memory for control messages. Owns its communicators.
#pragma once

#include <functional>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/topology.h"

namespace retain {

/// Of a group over host memory makes the group of the same ranks that moves the backend's tensors. Collective over the
/// group.
using MakeTensorGroup = std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator> host_group)>;

/// Where the backend's memory is the host's: that group itself.
std::unique_ptr<Communicator> same_group(std::unique_ptr<Communicator> host_group);

class Mesh {
 public:
  /// `host` moves host memory (control messages, configuration, votes) and spans the whole world; each axis is a part
  /// of it, of which `make` makes the axis's group: no group for tensors spans more than an axis. Collective.
  /// shape.ranks() must be the world's size.
  Mesh(MeshShape shape, std::unique_ptr<Communicator> host, const MakeTensorGroup& make = same_group);

  const MeshShape& shape() const { return shape_; }
  const MeshCoordinate& at() const { return at_; }
  int world_rank() const { return host_->rank(); }

  /// Aborts all communicators.
  void abort() noexcept;

  Communicator& host() { return *host_; }
  Communicator& tp() { return *tp_; }              ///< ranks that hold other heads of the same tokens
  Communicator& cp() { return *cp_; }              ///< ranks that hold other segments of the same sequences
  Communicator& replicas() { return *replicas_; }  ///< dp × cp: ranks that hold the same parameters

 private:
  MeshShape shape_;
  std::unique_ptr<Communicator> host_;
  MeshCoordinate at_;
  std::unique_ptr<Communicator> tp_, cp_, replicas_;
};

/// One rank alone: what tests, eval and generate use.
std::unique_ptr<Mesh> make_single_mesh();

}  // namespace retain
