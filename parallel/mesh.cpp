#include "parallel/mesh.h"

namespace retain {

std::unique_ptr<Communicator> same_group(std::unique_ptr<Communicator> host_group) { return host_group; }

Mesh::Mesh(MeshShape shape, std::unique_ptr<Communicator> host, const MakeTensorGroup& make)
    : shape_(shape), host_(std::move(host)) {
  RETAIN_CHECK(shape_.ranks() == host_->size(), "mesh ", shape_.describe(), " over ", host_->size(), " ranks");
  at_ = coordinate_of(shape_, host_->rank());
  const int replica = at_.dp * shape_.cp + at_.cp;
  tp_ = make(host_->split(replica, at_.tp));
  cp_ = make(host_->split(at_.dp * shape_.tp + at_.tp, at_.cp));
  replicas_ = make(host_->split(at_.tp, replica));
}

void Mesh::abort() noexcept {
  // One after the other: where a kernel of a later group holds the device, aborting an earlier one may wait for it.
  // Which one that is nobody knows here; whoever ends a job gives the whole a limit (launch/failure.cpp).
  for (Communicator* const group : {tp_.get(), cp_.get(), replicas_.get(), host_.get()}) group->abort();
}

std::unique_ptr<Mesh> make_single_mesh() { return std::make_unique<Mesh>(MeshShape{}, make_self_communicator()); }

}  // namespace retain
