// The ranks of a run as a mesh dp × cp × tp, with one communicator for each axis that exchanges tensors of the
// backend, and one over host memory for control messages. Owns its communicators.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "parallel/topology.h"

namespace retain {

class Mesh {
 public:
  /// `host` moves host memory (control messages, configuration, votes), `tensors` moves the backend's memory; both span
  /// the whole world, ranked alike, and are owned by the mesh. Collective. shape.ranks() must be the world's size.
  Mesh(MeshShape shape, std::unique_ptr<Communicator> host, std::unique_ptr<Communicator> tensors);

  const MeshShape& shape() const { return shape_; }
  const MeshCoordinate& at() const { return at_; }
  int world_rank() const { return host_->rank(); }

  /// Aborts all communicators.
  void abort() noexcept;

  Communicator& host() { return *host_; }
  Communicator& world() { return *world_; }
  Communicator& tp() { return *tp_; }              ///< ranks that hold other heads of the same tokens
  Communicator& cp() { return *cp_; }              ///< ranks that hold other segments of the same sequences
  Communicator& replicas() { return *replicas_; }  ///< dp × cp: ranks that hold the same parameters

 private:
  MeshShape shape_;
  std::unique_ptr<Communicator> host_, world_;
  MeshCoordinate at_;
  std::unique_ptr<Communicator> tp_, cp_, replicas_;
};

/// One rank alone: what tests, eval and generate use.
std::unique_ptr<Mesh> make_single_mesh();

}  // namespace retain
