#include "parallel/mpi/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <functional>
#include <span>
#include <vector>

#include "parallel/collective_arguments.h"
#include "parallel/host_reduce.h"
#include "parallel/mpi/mpi_check.h"

namespace retain {
namespace {

constexpr int kCollectiveTag = 1, kPeerTag = 2;
// Up to here the messages cost more than the bytes: a rank's contribution travels through others, in a few messages.
constexpr int64_t kSmallBytes = 4 << 10;

bool is_small(const TensorView& contribution) { return contribution.bytes() <= kSmallBytes; }

/// Owns an MPI_Comm.
class MpiGroup {
 public:
  explicit MpiGroup(MPI_Comm comm) : comm_(comm), uncaught_(std::uncaught_exceptions()) {}
  ~MpiGroup() {
    // MPI_Comm_free is collective: not while this rank unwinds alone.
    if (comm_ != MPI_COMM_NULL && std::uncaught_exceptions() <= uncaught_) MPI_Comm_free(&comm_);
  }
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;
  MPI_Comm get() const { return comm_; }

 private:
  MPI_Comm comm_;
  int uncaught_;
};

/// Memory of one rank's tensor.
struct Bytes {
  char* data = nullptr;
  int64_t count = 0;
};

/// How the ranks of a process wait for each other.
struct Waiting {
  Activity* activity;
  std::chrono::microseconds busy;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, int64_t block_bytes, const Waiting& waiting)
      : comm_(comm), block_bytes_(block_bytes), waiting_(waiting) {
    MPI_CHECK(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    MPI_CHECK(MPI_Comm_rank(comm, &rank_));
    MPI_CHECK(MPI_Comm_size(comm, &size_));
  }

  const char* name() const override { return "mpi"; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending all_reduce(const TensorView& x, ReduceOp op) override;
  Pending all_gather(const TensorView& out, const TensorView& in) override;
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override;
  Pending broadcast(const TensorView& x, int root) override;
  Pending send(const TensorView& x, int peer) override;
  Pending receive(const TensorView& x, int peer) override;
  void barrier() override {
    await_one("barrier", [&](MPI_Request* request) { MPI_CHECK(MPI_Ibarrier(comm_.get(), request)); });
  }
  std::unique_ptr<Communicator> split(int color, int key) override;

 private:
  using PartOf = std::function<Bytes(int rank)>;

  void wait(int64_t) override {}
  /// Waits for all requests of the collective `in`. MPI's own calls never sleep, and on a machine with other work take
  /// the processor from the very rank that they wait for. (To yield does not help: since Linux 6.18 who yields gives up
  /// a time slice, and misses it when there is work.)
  void await(const char* in, std::span<MPI_Request> requests);
  /// Waits for the request that start(&request) makes.
  template <class Start>
  void await_one(const char* in, const Start& start) {
    MPI_Request request = MPI_REQUEST_NULL;
    start(&request);
    await(in, {&request, 1});
  }
  /// Sends outgoing(r) to, and receives incoming(r) from, every other rank r.
  void exchange(const char* in, const PartOf& outgoing, const PartOf& incoming);
  /// out = the sum in rank order of own and of what the other ranks send of outgoing(this rank).
  void exchange_and_reduce(const char* in, ReduceOp op, DType dtype, const PartOf& outgoing, char* out);
  /// The ranks' x in rank order, in log2 of as many messages (Bruck et al. 1997). Of MPI's own all-gathers the blocking
  /// one never sleeps (await()), and the other one is Open MPI's with a message to every rank.
  void gather_small(const char* in, const TensorView& x, char* out);
  void all_reduce_small(const TensorView& x, ReduceOp op);
  /// Of whole numbers, whose result is the same in any order: MPI's own.
  void all_reduce_whole(const TensorView& x, ReduceOp op);
  void all_reduce_block(DType dtype, char* x, int64_t elements, ReduceOp op);
  /// Calls what(first byte, bytes) for each block of this many bytes.
  void for_blocks(int64_t bytes, int64_t block, const std::function<void(int64_t, int64_t)>& what) const {
    for (int64_t begin = 0; begin < bytes; begin += block) what(begin, std::min(block, bytes - begin));
  }
  /// block_bytes over `parts`, in whole elements of any dtype.
  int64_t block_over(int64_t parts) const { return std::max<int64_t>(block_bytes_ / parts / 8, 1) * 8; }
  char* scratch(int64_t bytes) {
    if (std::ssize(scratch_) < bytes) scratch_.resize(static_cast<std::size_t>(bytes));
    return scratch_.data();
  }

  MpiGroup comm_;
  int64_t block_bytes_;
  Waiting waiting_;
  int rank_ = 0, size_ = 1;
  std::vector<char> scratch_, turned_;
  std::vector<MPI_Request> requests_;
  std::vector<const void*> parts_;
};

char* bytes_of(const TensorView& x) { return static_cast<char*>(x.data); }

void MpiCommunicator::await(const char* in, std::span<MPI_Request> requests) {
  const auto done = [&] {
    for (MPI_Request& request : requests) {
      int one = 0;
      MPI_CHECK(MPI_Test(&request, &one, MPI_STATUS_IGNORE));
      if (!one) return false;
    }
    return true;
  };
  if (!waiting_.activity) return Activity().wait(WaitsFor::kRanks, in, done, waiting_.busy);
  waiting_.activity->wait(WaitsFor::kRanks, in, done, waiting_.busy);
  waiting_.activity->ended_collective();
}

void MpiCommunicator::exchange(const char* in, const PartOf& outgoing, const PartOf& incoming) {
  requests_.clear();
  const auto add = [&](auto&& start) {
    requests_.push_back(MPI_REQUEST_NULL);
    start(&requests_.back());
  };
  requests_.reserve(2 * static_cast<std::size_t>(size_));
  for (int step = 1; step < size_; ++step) {
    const int from = (rank_ + size_ - step) % size_, to = (rank_ + step) % size_;
    const Bytes in = incoming(from), out = outgoing(to);
    add([&](MPI_Request* request) {
      MPI_CHECK(MPI_Irecv(in.data, static_cast<int>(in.count), MPI_BYTE, from, kCollectiveTag, comm_.get(), request));
    });
    add([&](MPI_Request* request) {
      MPI_CHECK(MPI_Isend(out.data, static_cast<int>(out.count), MPI_BYTE, to, kCollectiveTag, comm_.get(), request));
    });
  }
  await(in, requests_);
}

void MpiCommunicator::exchange_and_reduce(const char* in, ReduceOp op, DType dtype, const PartOf& outgoing, char* out) {
  const Bytes own = outgoing(rank_);
  char* received = scratch(own.count * size_);
  const auto incoming = [&](int from) { return Bytes{received + from * own.count, own.count}; };
  exchange(in, outgoing, incoming);
  parts_.clear();
  for (int r = 0; r < size_; ++r) parts_.push_back(r == rank_ ? own.data : incoming(r).data);
  reduce_in_order(op, dtype, out, parts_, own.count / dtype_bytes(dtype));
}

void MpiCommunicator::gather_small(const char* in, const TensorView& x, char* out) {
  const int64_t bytes = x.bytes();
  turned_.resize(static_cast<std::size_t>(bytes * size_));  // of ranks rank_, rank_ + 1, …
  std::copy_n(bytes_of(x), bytes, turned_.data());
  for (int here = 1; here < size_; here *= 2) {
    const int more = std::min(here, size_ - here);
    const int count = static_cast<int>(more * bytes);
    std::array<MPI_Request, 2> both = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
    MPI_CHECK(MPI_Irecv(turned_.data() + here * bytes, count, MPI_BYTE, (rank_ + here) % size_, kCollectiveTag,
                        comm_.get(), &both[0]));
    MPI_CHECK(MPI_Isend(turned_.data(), count, MPI_BYTE, (rank_ + size_ - here) % size_, kCollectiveTag, comm_.get(),
                        &both[1]));
    await(in, both);
  }
  std::copy(turned_.end() - rank_ * bytes, turned_.end(), out);
  std::copy(turned_.begin(), turned_.end() - rank_ * bytes, out + rank_ * bytes);
}

void MpiCommunicator::all_reduce_small(const TensorView& x, ReduceOp op) {
  char* gathered = scratch(x.bytes() * size_);
  gather_small("all_reduce", x, gathered);
  parts_.clear();
  for (int r = 0; r < size_; ++r) parts_.push_back(gathered + r * x.bytes());
  reduce_in_order(op, x.dtype, x.data, parts_, x.elements());
}

MPI_Op whole_number_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum: return MPI_SUM;
    case ReduceOp::kMax: return MPI_MAX;
    case ReduceOp::kMin: return MPI_MIN;
  }
  return MPI_OP_NULL;
}

bool is_whole(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kUint8; }

void MpiCommunicator::all_reduce_whole(const TensorView& x, ReduceOp op) {
  const MPI_Datatype wide = op == ReduceOp::kSum ? MPI_UINT32_T : MPI_INT32_T;  // unsigned, so that sums wrap around
  const MPI_Datatype type = x.dtype == DType::kInt32 ? wide : MPI_UINT8_T;
  for_blocks(x.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    const int count = static_cast<int>(bytes / dtype_bytes(x.dtype));
    await_one("all_reduce", [&](MPI_Request* request) {
      MPI_CHECK(
          MPI_Iallreduce(MPI_IN_PLACE, bytes_of(x) + begin, count, type, whole_number_op(op), comm_.get(), request));
    });
  });
}

void MpiCommunicator::all_reduce_block(DType dtype, char* x, int64_t elements, ReduceOp op) {
  const int64_t width = dtype_bytes(dtype);
  const auto slice = [&](int rank) {
    const int64_t begin = elements * rank / size_, end = elements * (rank + 1) / size_;
    return Bytes{x + begin * width, (end - begin) * width};
  };
  exchange_and_reduce("all_reduce", op, dtype, slice, slice(rank_).data);
  exchange(
      "all_reduce", [&](int) { return slice(rank_); }, slice);
}

Pending MpiCommunicator::all_reduce(const TensorView& x, ReduceOp op) {
  check_collective(x, "all_reduce");
  if (is_whole(x.dtype)) {
    all_reduce_whole(x, op);
    return {};
  }
  if (is_small(x)) {
    all_reduce_small(x, op);
    return {};
  }
  for_blocks(x.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    all_reduce_block(x.dtype, bytes_of(x) + begin, bytes / dtype_bytes(x.dtype), op);
  });
  return {};
}

Pending MpiCommunicator::all_gather(const TensorView& out, const TensorView& in) {
  check_all_gather(out, in, rank_, size_);
  if (is_small(in)) {
    gather_small("all_gather", in, bytes_of(out));
    return {};
  }
  char* own = bytes_of(out) + rank_ * in.bytes();
  if (own != in.data) std::copy_n(bytes_of(in), in.bytes(), own);
  for_blocks(in.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    exchange(
        "all_gather",
        [&](int) {
          return Bytes{own + begin, bytes};
        },
        [&](int from) {
          return Bytes{bytes_of(out) + from * in.bytes() + begin, bytes};
        });
  });
  return {};
}

Pending MpiCommunicator::reduce_scatter(const TensorView& out, const TensorView& in) {
  check_reduce_scatter(out, in, rank_, size_);
  for_blocks(out.bytes(), block_over(size_), [&](int64_t begin, int64_t bytes) {
    exchange_and_reduce(
        "reduce_scatter", ReduceOp::kSum, in.dtype,
        [&](int to) {
          return Bytes{bytes_of(in) + to * out.bytes() + begin, bytes};
        },
        bytes_of(out) + begin);
  });
  return {};
}

Pending MpiCommunicator::broadcast(const TensorView& x, int root) {
  check_collective(x, "broadcast");
  check_root(root, size_);
  for_blocks(x.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    await_one("broadcast", [&](MPI_Request* request) {
      MPI_CHECK(MPI_Ibcast(bytes_of(x) + begin, static_cast<int>(bytes), MPI_BYTE, root, comm_.get(), request));
    });
  });
  return {};
}

Pending MpiCommunicator::send(const TensorView& x, int peer) {
  check_collective(x, "send");
  check_peer(peer, rank_, size_);
  for_blocks(x.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    await_one("send", [&](MPI_Request* request) {
      MPI_CHECK(
          MPI_Isend(bytes_of(x) + begin, static_cast<int>(bytes), MPI_BYTE, peer, kPeerTag, comm_.get(), request));
    });
  });
  return {};
}

Pending MpiCommunicator::receive(const TensorView& x, int peer) {
  check_collective(x, "receive");
  check_peer(peer, rank_, size_);
  for_blocks(x.bytes(), block_over(1), [&](int64_t begin, int64_t bytes) {
    await_one("receive", [&](MPI_Request* request) {
      MPI_CHECK(
          MPI_Irecv(bytes_of(x) + begin, static_cast<int>(bytes), MPI_BYTE, peer, kPeerTag, comm_.get(), request));
    });
  });
  return {};
}

std::unique_ptr<Communicator> adopt(MPI_Comm comm, int64_t block_bytes, const Waiting& waiting) {
  auto group = std::make_unique<MpiCommunicator>(comm, block_bytes, waiting);
  if (group->size() == 1) return make_self_communicator();
  return group;
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key) {
  RETAIN_CHECK(color >= 0, "split with the colour ", color);
  MPI_Comm part = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split(comm_.get(), color, key, &part));
  return adopt(part, block_bytes_, waiting_);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment& environment, int64_t block_bytes,
                                                    Activity* activity) {
  if (environment.world_size() == 1) return make_self_communicator();
  RETAIN_CHECK(block_bytes >= 8 && block_bytes <= 1 << 30, "blocks of ", block_bytes, " bytes");
  MPI_Comm world = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split(MPI_COMM_WORLD, 0, environment.world_rank(), &world));
  // Ranks that share a processor wait for each other longer, and give way to each other meanwhile (launch/mpirun.sh).
  const bool crowded = environment.local_size() > environment.host_processors();
  return adopt(world, block_bytes, {activity, std::chrono::microseconds(crowded ? 2000 : 100)});
}

}  // namespace retain
