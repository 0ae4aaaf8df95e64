// The contract of Communicator over host memory: one source for threads and for MPI.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/core/random.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

using test::on_every_group;

template <class T>
TensorView view(std::vector<T>& x) {
  return TensorView(x.data(), dtype_of<T>(), {static_cast<int64_t>(x.size())});
}

/// Number i of rank r: for floats of widely different sizes, so that the order of a sum shows in its bits.
template <class T>
T element(int rank, int64_t i) {
  const uint64_t bits = philox_bits(static_cast<uint64_t>(rank) + 1, static_cast<uint64_t>(i));
  if constexpr (std::is_same_v<T, Bfloat16>) {
    return Bfloat16::from_float(element<float>(rank, i));
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(std::ldexp(static_cast<double>(bits >> 40) - (1 << 23), static_cast<int>(bits % 40) - 20));
  } else {
    return static_cast<T>(bits % 30);
  }
}

template <class T>
std::vector<T> numbers(int rank, int64_t n) {
  std::vector<T> x(static_cast<std::size_t>(n));
  for (int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = element<T>(rank, i);
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
T combine(ReduceOp op, T a, T b) {
  if (op == ReduceOp::kMax) return std::max(a, b);
  if (op == ReduceOp::kMin) return std::min(a, b);
  return static_cast<T>(a + b);
}

/// What the contract promises to the last bit: the ranks one after the other, those of bfloat16 in float32.
template <class T>
std::vector<T> reduced(int ranks, int64_t n, ReduceOp op) {
  if constexpr (std::is_same_v<T, Bfloat16>) {
    std::vector<float> sum(static_cast<std::size_t>(n));
    std::vector<Bfloat16> rounded = numbers<T>(0, n);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = rounded[i].to_float();
    for (int r = 1; r < ranks; ++r) {
      const std::vector<T> x = numbers<T>(r, n);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = combine(op, sum[i], x[i].to_float());
    }
    for (std::size_t i = 0; i < sum.size(); ++i) rounded[i] = Bfloat16::from_float(sum[i]);
    return rounded;
  } else {
    std::vector<T> sum = numbers<T>(0, n);
    for (int r = 1; r < ranks; ++r) {
      const std::vector<T> x = numbers<T>(r, n);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = combine(op, sum[i], x[i]);
    }
    return sum;
  }
}

// Fewer elements than ranks, odd ones, and enough for several blocks of the reduction.
constexpr int64_t kSizes[] = {1, 5, 64, 1000, 5003};

template <class T>
class ReducingCommunicator : public ::testing::Test {};
using ReducedTypes = ::testing::Types<float, double, int32_t, uint8_t, Bfloat16>;
TYPED_TEST_SUITE(ReducingCommunicator, ReducedTypes);

template <class T>
class MovingCommunicator : public ::testing::Test {};
using MovedTypes = ::testing::Types<float, double, int32_t, uint8_t, Bfloat16>;
TYPED_TEST_SUITE(MovingCommunicator, MovedTypes);

TYPED_TEST(ReducingCommunicator, AllReduceIsTheSumInRankOrderToTheLastBit) {
  on_every_group([](Communicator& group) {
    for (const int64_t n : kSizes) {
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
        auto x = numbers<TypeParam>(group.rank(), n);
        group.all_reduce(view(x), op).wait();
        EXPECT_TRUE(same_bits(x, reduced<TypeParam>(group.size(), n, op)))
            << group.name() << ", " << group.size() << " ranks, " << n << " elements";
      }
    }
  });
}

TYPED_TEST(ReducingCommunicator, ReduceScatterGivesEachRankItsSliceOfTheSum) {
  on_every_group([](Communicator& group) {
    for (const int64_t n : kSizes) {
      const auto sum = reduced<TypeParam>(group.size(), n * group.size(), ReduceOp::kSum);
      const std::vector<TypeParam> want(sum.begin() + n * group.rank(), sum.begin() + n * (group.rank() + 1));

      auto in = numbers<TypeParam>(group.rank(), n * group.size());
      const TensorView slice = view(in).slice(0, n * group.rank(), n);
      if (group.size() > 1) {
        std::vector<TypeParam> out(static_cast<std::size_t>(n));
        group.reduce_scatter(view(out), view(in)).wait();
        EXPECT_TRUE(same_bits(out, want)) << n << " elements apart";
        EXPECT_TRUE(same_bits(in, numbers<TypeParam>(group.rank(), n * group.size()))) << "the input was changed";
      }
      group.reduce_scatter(slice, view(in)).wait();
      const auto* own = slice.as<TypeParam>();
      EXPECT_TRUE(same_bits(std::vector<TypeParam>(own, own + n), want)) << n << " elements in place";
    }
  });
}

TYPED_TEST(MovingCommunicator, AllGatherPutsTheRanksInOrder) {
  on_every_group([](Communicator& group) {
    for (const int64_t n : kSizes) {
      std::vector<TypeParam> want;
      for (int r = 0; r < group.size(); ++r) {
        const auto x = numbers<TypeParam>(r, n);
        want.insert(want.end(), x.begin(), x.end());
      }
      auto in = numbers<TypeParam>(group.rank(), n);
      std::vector<TypeParam> out(want.size());
      if (group.size() > 1) {
        group.all_gather(view(out), view(in)).wait();
        EXPECT_TRUE(same_bits(out, want)) << n << " elements apart";
      }
      std::fill(out.begin(), out.end(), TypeParam{});
      std::copy(in.begin(), in.end(), out.begin() + n * group.rank());
      group.all_gather(view(out), view(out).slice(0, n * group.rank(), n)).wait();
      EXPECT_TRUE(same_bits(out, want)) << n << " elements in place";
    }
  });
}

TYPED_TEST(MovingCommunicator, BroadcastCopiesTheRootFromEveryRoot) {
  on_every_group([](Communicator& group) {
    for (int root = 0; root < group.size(); ++root) {
      for (const int64_t n : kSizes) {
        auto x = numbers<TypeParam>(group.rank(), n);
        group.broadcast(view(x), root).wait();
        EXPECT_TRUE(same_bits(x, numbers<TypeParam>(root, n))) << "root " << root << ", " << n << " elements";
      }
    }
  });
}

TYPED_TEST(MovingCommunicator, SendArrivesInOrderAtThePeer) {
  on_every_group([](Communicator& group) {
    if (group.size() == 1) return;
    const int next = (group.rank() + 1) % group.size(), previous = (group.rank() + group.size() - 1) % group.size();
    const auto send = [&] {
      for (const int64_t n : kSizes) {
        auto x = numbers<TypeParam>(group.rank(), n);
        group.send(view(x), next).wait();
      }
    };
    const auto receive = [&] {
      for (const int64_t n : kSizes) {
        std::vector<TypeParam> x(static_cast<std::size_t>(n));
        group.receive(view(x), previous).wait();
        EXPECT_TRUE(same_bits(x, numbers<TypeParam>(previous, n))) << n << " elements from rank " << previous;
      }
    };
    if (group.rank() == 0) {  // one rank sends first, so that the ring moves
      send();
      receive();
    } else {
      receive();
      send();
    }
  });
}

TEST(Communicator, MovesMegabytesUnharmed) {
  on_every_group([](Communicator& group) {
    const int64_t n = 1500007;  // 6 MB: more than a block, and odd
    std::vector<float> x(static_cast<std::size_t>(n));
    std::iota(x.begin(), x.end(), static_cast<float>(group.rank()));
    if (group.size() > 1) {
      // Integers below 2^24 add exactly.
      group.all_reduce(view(x), ReduceOp::kSum).wait();
      const int ranks = group.size();
      for (int64_t i = 0; i < n; i += 997) {
        ASSERT_EQ(x[static_cast<std::size_t>(i)], static_cast<float>(ranks * i + ranks * (ranks - 1) / 2))
            << "at " << i;
      }
    }
    std::fill(x.begin(), x.end(), static_cast<float>(group.rank()));
    group.broadcast(view(x), group.size() - 1).wait();
    EXPECT_EQ(x.front(), group.size() - 1);
    EXPECT_EQ(x.back(), group.size() - 1);
  });
}

TEST(Communicator, TensorsWithoutElementsAreLegal) {
  on_every_group([](Communicator& group) {
    const TensorView nothing(nullptr, DType::kFloat32, {0});
    group.all_reduce(nothing, ReduceOp::kSum).wait();
    group.all_gather(nothing, nothing).wait();
    group.reduce_scatter(nothing, nothing).wait();
    group.broadcast(nothing, 0).wait();
  });
}

TEST(Communicator, RepeatsGiveTheSameBitsOnEveryRank) {
  on_every_group([](Communicator& group) {
    const auto run = [&] {
      auto x = numbers<float>(group.rank(), 20011);
      group.all_reduce(view(x), ReduceOp::kSum).wait();
      return x;
    };
    auto first = run();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(run(), first));
    std::vector<float> of_root = first;
    group.broadcast(view(of_root), 0).wait();
    EXPECT_TRUE(same_bits(first, of_root));
  });
}

TEST(Communicator, RefusesWrongSlicesAndRoots) {
  on_every_group([](Communicator& group) {
    std::vector<float> x(static_cast<std::size_t>(4 * group.size() + 1)), y(3);
    const TensorView all = view(x).slice(0, 0, 4 * group.size());
    EXPECT_THROW(group.all_gather(all, view(y)).wait(), Error);                                    // wrong size
    EXPECT_THROW(group.all_gather(all, view(x).slice(0, 4 * group.rank() + 1, 4)).wait(), Error);  // not the slice
    EXPECT_THROW(group.reduce_scatter(view(y), all).wait(), Error);
    EXPECT_THROW(group.broadcast(all, group.size()).wait(), Error);
    EXPECT_THROW(group.send(all, group.rank()).wait(), Error);
    const TensorView strided = all.split(0, group.size(), 4).slice(1, 0, 2);
    if (group.size() > 1) {
      EXPECT_THROW(group.all_reduce(strided, ReduceOp::kSum).wait(), Error);
    }
    group.barrier();
  });
}

TEST(Communicator, SplitGroupsByColourAndOrdersByKeyThenRank) {
  on_every_group([](Communicator& group) {
    const int color = group.rank() % 2;
    for (const bool reversed : {false, true}) {
      const auto part = group.split(color, reversed ? -group.rank() : 7);
      std::vector<int32_t> members;  // of this colour, in the wanted order
      for (int r = color; r < group.size(); r += 2) members.push_back(r);
      if (reversed) std::reverse(members.begin(), members.end());
      ASSERT_EQ(part->size(), static_cast<int>(members.size()));
      EXPECT_EQ(members[static_cast<std::size_t>(part->rank())], group.rank());

      std::vector<int32_t> seen(members.size());
      seen[static_cast<std::size_t>(part->rank())] = group.rank();
      part->all_gather(view(seen), view(seen).slice(0, part->rank(), 1)).wait();
      EXPECT_EQ(seen, members);
    }
  });
}

TEST(Communicator, GroupsOfASplitWorkWhileTheirParentDoes) {
  on_every_group([](Communicator& group) {
    const auto part = group.split(group.rank() / 2, 0);
    const auto again = part->split(0, -part->rank());
    for (int i = 0; i < 20; ++i) {
      std::vector<int32_t> a{1}, b{1}, c{again->rank() == 0 ? part->rank() : -1};
      part->all_reduce(view(a), ReduceOp::kSum).wait();
      group.all_reduce(view(b), ReduceOp::kSum).wait();
      again->broadcast(view(c), 0).wait();
      EXPECT_EQ(a[0], part->size());
      EXPECT_EQ(b[0], group.size());
      EXPECT_EQ(c[0], part->size() - 1);
    }
  });
}

TEST(Communicator, OneRankAloneIsTheSelfCommunicator) {
  on_every_group([](Communicator& group) {
    const auto alone = group.split(group.rank(), 0);
    EXPECT_STREQ(alone->name(), "self");
    EXPECT_EQ(alone->size(), 1);
    if (group.size() == 1) {
      EXPECT_STREQ(group.name(), "self");
    }
    // Device memory must never be read by the host: a pointer that is not memory passes untouched.
    const TensorView device(reinterpret_cast<void*>(0x1000), DType::kBfloat16, {8});
    alone->all_reduce(device, ReduceOp::kSum).wait();
    alone->all_gather(device, device).wait();
    alone->reduce_scatter(device, device).wait();
    alone->broadcast(device, 0).wait();
  });
}

}  // namespace
}  // namespace retain
