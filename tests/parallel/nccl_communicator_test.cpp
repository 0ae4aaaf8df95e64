// The contract of Communicator over device memory. Runs under mpirun with a GPU for each rank; skipped otherwise.
#include "parallel/nccl/nccl_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "parallel/mesh.h"
#include "tests/parallel/row_passage.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

using ::testing::HasSubstr;

/// A tensor in device memory with the host's view of it.
template <class T>
class Device {
 public:
  Device(Backend& backend, const std::vector<T>& host)
      : backend_(backend),
        buffer_(backend, static_cast<int64_t>(host.size() * sizeof(T))),
        view(buffer_.data(), dtype_of<T>(), {static_cast<int64_t>(host.size())}) {
    backend_.upload(view, host.data());
  }
  std::vector<T> read() const {
    std::vector<T> host(static_cast<std::size_t>(view.elements()));
    backend_.download(host.data(), view);
    return host;
  }

 private:
  Backend& backend_;
  Buffer buffer_;

 public:
  TensorView view;
};

/// Runs the body on every rank with its GPU and an NCCL group of all ranks.
void on_gpus(const std::function<void(Communicator& host, Backend&, Communicator& group)>& body) {
  test::on_every_group([&](Communicator& host) {
    const int device = host.rank();
    const auto backend = make_cuda_backend(device);
    const auto group = make_nccl_communicator(host, device, backend->stream());
    body(host, *backend, *group);
  });
}

class Nccl : public ::testing::Test {
 protected:
  void SetUp() override {
    int ranks = 1;
    test::on_every_group([&](Communicator& host) { ranks = host.size(); });
    if (cuda_device_count() < ranks || cuda_device_count() < 2) {
      GTEST_SKIP() << ranks << " ranks need as many GPUs, and at least 2; there are " << cuda_device_count();
    }
  }
};

template <class T>
void check_moves_and_sums(Communicator& group, Backend& backend, int64_t n) {
  const int size = group.size(), rank = group.rank();
  const auto number = [](int r, int64_t i) { return static_cast<int>((i * 7 + r * 3) % 11); };
  const auto make = [&](int r, int64_t count) {
    std::vector<T> x(static_cast<std::size_t>(count));
    for (int64_t i = 0; i < count; ++i) x[static_cast<std::size_t>(i)] = static_cast<T>(number(r, i));
    return x;
  };
  const auto sum = [&](int64_t i) {
    int total = 0;
    for (int r = 0; r < size; ++r) total += number(r, i);
    return static_cast<T>(total);
  };

  Device<T> x(backend, make(rank, n));
  group.all_reduce(x.view, ReduceOp::kSum).wait();
  const std::vector<T> reduced = x.read();
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(reduced[static_cast<std::size_t>(i)], sum(i)) << "all_reduce at " << i;

  Device<T> all(backend, std::vector<T>(static_cast<std::size_t>(n * size))), own(backend, make(rank, n));
  group.all_gather(all.view, own.view).wait();
  const std::vector<T> gathered = all.read();
  for (int r = 0; r < size; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(gathered[static_cast<std::size_t>(r * n + i)], static_cast<T>(number(r, i))) << "all_gather";
    }
  }

  Device<T> in(backend, make(rank, n * size));
  const TensorView slice = in.view.slice(0, rank * n, n);
  group.reduce_scatter(slice, in.view).wait();
  const std::vector<T> scattered = in.read();
  for (int64_t i = rank * n; i < (rank + 1) * n; ++i) {
    ASSERT_EQ(scattered[static_cast<std::size_t>(i)], sum(i)) << "reduce_scatter at " << i;
  }

  Device<T> shared(backend, make(rank, n));
  group.broadcast(shared.view, size - 1).wait();
  EXPECT_EQ(shared.read(), make(size - 1, n)) << "broadcast";
}

TEST_F(Nccl, EveryCollectiveMovesAndSumsEveryDtype) {
  on_gpus([](Communicator&, Backend& backend, Communicator& group) {
    for (const int64_t n : {1, 1000, 70001}) {
      check_moves_and_sums<float>(group, backend, n);
      check_moves_and_sums<double>(group, backend, n);
      check_moves_and_sums<int32_t>(group, backend, n);
      check_moves_and_sums<uint8_t>(group, backend, n);
    }
  });
}

TEST_F(Nccl, SumsOfBfloat16AreTaken) {
  on_gpus([](Communicator&, Backend& backend, Communicator& group) {
    Device<Bfloat16> x(backend, std::vector<Bfloat16>(777, Bfloat16::from_float(1.5F)));
    group.all_reduce(x.view, ReduceOp::kSum).wait();
    for (const Bfloat16 value : x.read()) ASSERT_EQ(value.to_float(), 1.5F * static_cast<float>(group.size()));
  });
}

TEST_F(Nccl, CollectivesKeepTheOrderOfTheComputeStream) {
  on_gpus([](Communicator&, Backend& backend, Communicator& group) {
    Device<float> x(backend, std::vector<float>(1 << 20, 0.0F));
    for (int i = 1; i <= 50; ++i) {  // no synchronisation in between: only events order the two streams
      backend.fill(x.view, i);
      group.all_reduce(x.view, ReduceOp::kSum).wait();
    }
    const std::vector<float> sum = x.read();
    EXPECT_EQ(sum.front(), 50.0F * static_cast<float>(group.size()));
    EXPECT_EQ(sum.back(), 50.0F * static_cast<float>(group.size()));
  });
}

TEST_F(Nccl, ManyCollectivesMayBeUnderWay) {
  on_gpus([](Communicator&, Backend& backend, Communicator& group) {
    std::vector<std::unique_ptr<Device<float>>> tensors;
    std::vector<Pending> pending;
    for (int i = 0; i < 20; ++i) {
      tensors.push_back(std::make_unique<Device<float>>(backend, std::vector<float>(1000, static_cast<float>(i))));
      pending.push_back(group.all_reduce(tensors.back()->view, ReduceOp::kMax));
    }
    for (Pending& p : pending) p.wait();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(tensors[static_cast<std::size_t>(i)]->read()[999], static_cast<float>(i));
  });
}

TEST_F(Nccl, RepeatsGiveTheSameBitsOnEveryRank) {
  on_gpus([](Communicator& host, Backend& backend, Communicator& group) {
    std::vector<float> numbers(300007);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = 1.0F / static_cast<float>(i + 1 + 13 * static_cast<std::size_t>(group.rank()));
    }
    std::vector<float> first;
    for (int repeat = 0; repeat < 3; ++repeat) {
      Device<float> x(backend, numbers);
      group.all_reduce(x.view, ReduceOp::kSum).wait();
      if (repeat == 0) first = x.read();
      EXPECT_EQ(x.read(), first);
    }
    std::vector<float> of_root = first;
    host.broadcast(TensorView(of_root.data(), DType::kFloat32, {static_cast<int64_t>(of_root.size())}), 0).wait();
    EXPECT_EQ(first, of_root);
  });
}

TEST_F(Nccl, ChunksOfRowsAreReducedAndGatheredUnderWorkOnOthers) {
  on_gpus([](Communicator&, Backend& backend, Communicator& group) {
    for (const int64_t rows : {13, 1000}) {
      for (const int64_t chunks : {1, 3, 4}) test::check_row_passage(backend, group, rows, 1024, chunks);
    }
  });
}

TEST_F(Nccl, AMeshHasAGroupOnEveryAxis) {
  test::on_every_group([](Communicator& world) {
    const auto backend = make_cuda_backend(world.rank());
    Mesh mesh({1, 1, world.size()}, world.split(0, world.rank()),
              make_nccl_groups(world, world.rank(), backend->stream()));
    EXPECT_STREQ(mesh.tp().name(), "nccl");
    EXPECT_STREQ(mesh.replicas().name(), "self");
    Device<float> x(*backend, {static_cast<float>(world.rank() + 1)});
    mesh.tp().all_reduce(x.view, ReduceOp::kSum).wait();
    EXPECT_EQ(x.read()[0], static_cast<float>(world.size() * (world.size() + 1) / 2));
    mesh.host().barrier();
  });
}

TEST_F(Nccl, TwoRanksOnOneGpuAreRefusedByName) {
  test::on_every_group([](Communicator& host) {
    const auto backend = make_cuda_backend(0);
    try {
      make_nccl_communicator(host, 0, backend->stream());
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kDevice);
      EXPECT_THAT(e.what(), HasSubstr("ranks 0 and 1 of the group both use GPU"));
    }
  });
}

}  // namespace
}  // namespace retain
