// A group of ranks that exchange tensors. Implementations: self (one rank), thread (N ranks in one process),
// mpi (host memory), nccl (device memory). Collectives are called by all ranks of the group in the same order.
// A collective returns a Pending: the data may be touched again by host code (host communicators) or by later work on
// the backend's queue (device communicators) after wait(). A size-1 group moves nothing, so that callers never ask.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/tensor.h"

namespace retain {

class Communicator;

/// A collective failed, or was not done in time: mostly because another rank failed, which then has the word first.
class CommunicationError : public Error {
 public:
  explicit CommunicationError(const std::string& message) : Error(ErrorKind::kDevice, message) {}
};

/// A collective under way; must be waited for exactly once.
class [[nodiscard]] Pending {
 public:
  Pending() = default;  ///< already complete
  Pending(Communicator* communicator, int64_t ticket) : communicator_(communicator), ticket_(ticket) {}
  Pending(Pending&& other) noexcept { swap(other); }
  Pending& operator=(Pending&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Pending() = default;

  /// Orders everything that follows after the collective.
  void wait();

 private:
  void swap(Pending& other) noexcept {
    std::swap(communicator_, other.communicator_);
    std::swap(ticket_, other.ticket_);
  }
  Communicator* communicator_ = nullptr;
  int64_t ticket_ = 0;
};

enum class ReduceOp : uint8_t { kSum, kMax, kMin };

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual const char* name() const = 0;  ///< "self", "thread", "mpi", "nccl"
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Every view is contiguous; all ranks give the same dtype and shape. Float sums are taken in an order fixed by the
  // group alone, so that a run repeats to the last bit; every rank of an all_reduce gets the same bits.

  /// In place: x = op over ranks.
  virtual Pending all_reduce(const TensorView& x, ReduceOp op) = 0;
  /// out [size, in.elements()] in rank order; in may be out's own slice.
  virtual Pending all_gather(const TensorView& out, const TensorView& in) = 0;
  /// out = this rank's slice of the sum of in [size, out.elements()]; out may be in's own slice.
  virtual Pending reduce_scatter(const TensorView& out, const TensorView& in) = 0;
  virtual Pending broadcast(const TensorView& x, int root) = 0;
  /// Point to point within the group. Two ranks that exchange must not both send first.
  virtual Pending send(const TensorView& x, int peer) = 0;
  virtual Pending receive(const TensorView& x, int peer) = 0;
  virtual void barrier() = 0;

  /// The group of those ranks that give the same colour, ordered by (key, rank). Collective. Host memory alone.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  /// Ends what is under way on this rank, whatever the others do: before the process ends because of an error. The
  /// communicator is of no use afterwards. Any thread.
  virtual void abort() noexcept {}

 protected:
  friend class Pending;
  /// Completes the collective of that ticket. Host communicators complete before they return and ignore this.
  virtual void wait(int64_t ticket) = 0;
};

inline void Pending::wait() {
  if (communicator_) std::exchange(communicator_, nullptr)->wait(ticket_);
}

/// The group of one rank.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace retain
