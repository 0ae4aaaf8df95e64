#include "parallel/nccl/nccl_communicator.h"

#include <array>
#include <optional>
#include <vector>

#include "kernels/cuda/handles.h"
#include "kernels/cuda/milestones.h"
#include "kernels/cuda/wait.h"
#include "parallel/agreement.h"
#include "parallel/collective_arguments.h"
#include "parallel/nccl/gpu_identity.h"
#include "parallel/nccl/nccl_handles.h"

namespace retain {
namespace {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return ncclFloat32;
    case DType::kFloat64: return ncclFloat64;
    case DType::kBfloat16: return ncclBfloat16;
    case DType::kInt32: return ncclInt32;
    case DType::kUint8: return ncclUint8;
  }
  RETAIN_CHECK(false, "dtype ", static_cast<int>(dtype));
  return ncclUint8;
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum: return ncclSum;
    case ReduceOp::kMax: return ncclMax;
    case ReduceOp::kMin: return ncclMin;
  }
  RETAIN_CHECK(false, "reduction ", static_cast<int>(op));
  return ncclSum;
}

/// Of the highest priority, so that a collective does not queue behind the blocks of a large kernel.
cuda::Stream make_urgent_stream() {
  int least = 0, greatest = 0;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest));
  return cuda::Stream(stream);
}

std::size_t count_of(const TensorView& x) { return static_cast<std::size_t>(x.elements()); }

/// The group of `size` ranks that were given this id, set up without blocking for ever.
NcclGroup make_group(const ncclUniqueId& id, int rank, int size, const NcclOptions& options) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&comm, size, id, rank, &config);
  NcclGroup group(comm, options.deadline, options.activity);
  group.settle(result, "ncclCommInitRankConfig");
  return group;
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(NcclGroup group, int device, cudaStream_t compute, Activity* activity)
      : group_(std::move(group)),
        activity_(activity),
        milestones_([this](const Activity::Place& mark) { passed(mark); }),
        device_(device),
        compute_(compute),
        stream_(make_urgent_stream()),
        ready_(cuda::make_event()) {
    NCCL_CHECK(group_.get(), ncclCommUserRank(group_.get(), &rank_));
    NCCL_CHECK(group_.get(), ncclCommCount(group_.get(), &size_));
    scratch_ = cuda::allocate_device(int64_t{sizeof(int)}, "scratch of an NCCL communicator");
    if (activity_) question_.emplace(*activity_, [this] { look(); });
  }
  // The group first, because freeing memory waits for the device, and the device may wait for a dead rank.
  ~NcclCommunicator() override {
    question_.reset();
    group_.close();
  }

  void abort() noexcept override { group_.abort(); }

  const char* name() const override { return "nccl"; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending all_reduce(const TensorView& x, ReduceOp op) override {
    check_collective(x, "all_reduce");
    return run(x, "ncclAllReduce", [&] {
      return ncclAllReduce(x.data, x.data, count_of(x), nccl_type(x.dtype), nccl_op(op), comm(), stream_.get());
    });
  }
  Pending all_gather(const TensorView& out, const TensorView& in) override {
    check_all_gather(out, in, rank_, size_);
    return run(in, "ncclAllGather", [&] {
      return ncclAllGather(in.data, out.data, count_of(in), nccl_type(in.dtype), comm(), stream_.get());
    });
  }
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override {
    check_reduce_scatter(out, in, rank_, size_);
    return run(out, "ncclReduceScatter", [&] {
      return ncclReduceScatter(in.data, out.data, count_of(out), nccl_type(in.dtype), ncclSum, comm(), stream_.get());
    });
  }
  Pending broadcast(const TensorView& x, int root) override {
    check_collective(x, "broadcast");
    check_root(root, size_);
    return run(x, "ncclBroadcast", [&] {
      return ncclBroadcast(x.data, x.data, count_of(x), nccl_type(x.dtype), root, comm(), stream_.get());
    });
  }
  Pending send(const TensorView& x, int peer) override {
    check_collective(x, "send");
    check_peer(peer, rank_, size_);
    return run(x, "ncclSend",
               [&] { return ncclSend(x.data, count_of(x), nccl_type(x.dtype), peer, comm(), stream_.get()); });
  }
  Pending receive(const TensorView& x, int peer) override {
    check_collective(x, "receive");
    check_peer(peer, rank_, size_);
    return run(x, "ncclRecv",
               [&] { return ncclRecv(x.data, count_of(x), nccl_type(x.dtype), peer, comm(), stream_.get()); });
  }

  void barrier() override {
    const TensorView one(scratch_.get(), DType::kInt32, {1});
    CUDA_CHECK(cudaMemsetAsync(one.data, 0, sizeof(int), stream_.get()));
    all_reduce(one, ReduceOp::kMax).wait();
    await_stream("barrier");
  }

  // ncclCommSplit of a non-blocking group leaves its result unset for a while without saying for how long (NCCL issues
  // 1472, 1605), and the group of all ranks, which is the slowest to set up, would serve nothing else.
  std::unique_ptr<Communicator> split(int, int) override {
    throw Error(ErrorKind::kInternal, "an NCCL group is made of a part of a host group (make_nccl_groups), not split");
  }

 private:
  ncclComm_t comm() const { return group_.get(); }

  /// Queues a collective behind the compute stream. A group that failed stays failed.
  template <class Start>
  Pending run(const TensorView& moved, const char* call, Start start) {
    if (!comm()) throw CommunicationError(concat(call, " on a communicator that was aborted"));
    if (moved.elements() == 0) return {};
    CUDA_CHECK(cudaEventRecord(ready_.get(), compute_));
    CUDA_CHECK(cudaStreamWaitEvent(stream_.get(), ready_.get(), 0));
    const bool marked = activity_ && milestones_.has_room(2);
    if (marked) milestones_.mark(stream_.get(), {.phase = call, .layer = kBegins});
    group_.settle(start(), call);
    if (marked) milestones_.mark(stream_.get(), {.phase = call, .layer = kEnds});
    if (unused_.empty()) {
      unused_.push_back(std::ssize(done_));
      done_.push_back(cuda::make_event());
    }
    const int64_t ticket = unused_.back();
    CUDA_CHECK(cudaEventRecord(done_[static_cast<std::size_t>(ticket)].get(), stream_.get()));
    unused_.pop_back();
    return Pending(this, ticket);
  }

  void wait(int64_t ticket) override {
    group_.check_health();
    CUDA_CHECK(cudaStreamWaitEvent(compute_, done_[static_cast<std::size_t>(ticket)].get(), 0));
    unused_.push_back(ticket);  // the compute stream waits for what was recorded until now, whatever is recorded next
  }

  /// The host waits for the communicator's stream, but not for ever.
  void await_stream(const char* call) {
    const auto until = std::chrono::steady_clock::now() + group_.deadline();
    CUDA_CHECK(cudaEventRecord(ready_.get(), stream_.get()), call);
    Activity unseen;
    (activity_ ? *activity_ : unseen).wait(WaitsFor::kRanks, call, [&] {
      if (cuda::has_passed(ready_.get(), call)) return true;
      group_.check_health();
      if (std::chrono::steady_clock::now() < until) return false;
      group_.abort();
      throw CommunicationError(concat("rank ", rank_, " of ", size_, ": the ", call, " was not done after ",
                                      group_.deadline().count(), " s; is another rank dead or stuck?"));
    });
  }

  // Marks on the stream, one before a collective and one after: +1 and -1 ranks that it waits for.
  static constexpr int kBegins = 1, kEnds = -1;
  void passed(const Activity::Place& mark) {
    activity_->device_waits_for_ranks(mark.layer);
    if (mark.layer == kEnds) activity_->ended_collective();
  }
  /// Is all well, and what has been done? Any thread.
  void look() {
    group_.check_health();
    CUDA_CHECK(cudaSetDevice(device_), "a look at an NCCL communicator");
    milestones_.look();
  }

  NcclGroup group_;
  Activity* activity_;
  cuda::Milestones milestones_;
  int device_;
  cudaStream_t compute_;
  cuda::Stream stream_;
  cuda::Event ready_;
  std::vector<cuda::Event> done_;  // a ticket is the place of its event
  std::vector<int64_t> unused_;    // tickets that were waited for
  cuda::DeviceMemory scratch_;
  int rank_ = 0, size_ = 1;
  std::optional<Activity::Question> question_;
};

/// Throws on all ranks alike when two of them share a GPU.
void refuse_shared_gpu(Communicator& host, int device) {
  std::array<char, 32> bus_id{};
  CUDA_CHECK(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), device));
  const std::string trouble = describe_shared_gpu(gather_identities(host, local_gpu(bus_id.data())));
  if (!trouble.empty()) throw SharedError(ErrorKind::kDevice, trouble);
}

/// The NCCL group of the ranks of `host`, each on a GPU of its own.
std::unique_ptr<Communicator> join(Communicator& host, int device, void* compute_stream, const NcclOptions& options) {
  if (host.size() == 1) return make_self_communicator();
  CUDA_CHECK(cudaSetDevice(device));
  ncclUniqueId id{};
  if (host.rank() == 0) NCCL_CHECK(nullptr, ncclGetUniqueId(&id));
  host.broadcast(TensorView(id.internal, DType::kUint8, {NCCL_UNIQUE_ID_BYTES}), 0).wait();

  return std::make_unique<NcclCommunicator>(make_group(id, host.rank(), host.size(), options), device,
                                            static_cast<cudaStream_t>(compute_stream), options.activity);
}

}  // namespace

std::string nccl_version() {
  int version = 0;  // 2.28.3 is 22803
  NCCL_CHECK(nullptr, ncclGetVersion(&version));
  return concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, int device, void* compute_stream,
                                                     const NcclOptions& options) {
  if (host.size() > 1) refuse_shared_gpu(host, device);
  return join(host, device, compute_stream, options);
}

MakeTensorGroup make_nccl_groups(Communicator& world, int device, void* compute_stream, const NcclOptions& options) {
  if (world.size() > 1) refuse_shared_gpu(world, device);
  return [=](std::unique_ptr<Communicator> group) { return join(*group, device, compute_stream, options); };
}

}  // namespace retain
