#include "parallel/threads/thread_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "tests/support/ranks.h"

namespace retain {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

void add_one(Communicator& group) {
  int32_t one = 1;
  group.all_reduce(TensorView(&one, DType::kInt32, {1}), ReduceOp::kSum).wait();
}

/// The message with which the ranks ended, and the seconds it took.
std::pair<std::string, double> failure_of(int n, const RankBody& body, std::chrono::milliseconds deadline) {
  const auto start = std::chrono::steady_clock::now();
  std::string message;
  try {
    run_ranks(n, body, deadline);
  } catch (const Error& e) {
    message = e.what();
  }
  return {message, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

TEST(ThreadCommunicator, ARankThatThrowsMakesAllThrowAtOnce) {
  for (const int n : {2, 3, 4, 7}) {
    std::atomic<int> threw = 0;
    const auto [message, seconds] = failure_of(
        n,
        [&](Communicator& group) {
          add_one(group);
          try {
            if (group.rank() == n / 2) throw Error(ErrorKind::kData, "the disk is on fire");
            for (;;) add_one(group);
          } catch (...) {
            ++threw;
            throw;
          }
        },
        60s);
    EXPECT_EQ(threw, n);
    EXPECT_LT(seconds, 30);
    EXPECT_THAT(message, ::testing::StartsWith(concat("rank ", n / 2, ": the disk is on fire"))) << "the cause first";
    EXPECT_THAT(message, HasSubstr(concat("rank ", n / 2, " threw an exception")));
  }
}

TEST(ThreadCommunicator, TheKindOfTheCauseSurvives) {
  try {
    run_ranks(3, [](Communicator& group) {
      if (group.rank() == 1) throw Error(ErrorKind::kDiverged, "loss is not finite");
      add_one(group);
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kDiverged);
  }
}

TEST(ThreadCommunicator, ARankThatThrowsInASubgroupReachesAllThroughTheirNextCollective) {
  std::atomic<int> threw = 0;
  const auto body = [&](Communicator& world) {
    try {
      const auto part = world.split(world.rank() / 2, 0);
      if (world.rank() == 3) throw Error(ErrorKind::kInternal, "gone");
      for (;;) {
        add_one(*part);
        add_one(world);
      }
    } catch (...) {
      ++threw;
      throw;
    }
  };
  EXPECT_THROW(run_ranks(4, body), Error);
  EXPECT_EQ(threw, 4);
}

TEST(ThreadCommunicator, ARankThatEndsEarlyIsNamed) {
  const auto [message, seconds] = failure_of(
      3,
      [](Communicator& group) {
        if (group.rank() != 2) add_one(group);
      },
      60s);
  EXPECT_THAT(message, HasSubstr("rank 2 has ended"));
  EXPECT_LT(seconds, 30);
}

TEST(ThreadCommunicator, ARankThatNeverComesIsGivenUpAfterTheDeadline) {
  std::atomic<bool> release = false;
  const auto [message, seconds] = failure_of(
      3,
      [&](Communicator& group) {
        if (group.rank() == 1) {
          while (!release) std::this_thread::sleep_for(1ms);
          return;
        }
        try {
          add_one(group);
        } catch (...) {
          release = true;
          throw;
        }
      },
      200ms);
  EXPECT_THAT(message, HasSubstr("only 2 of the ranks came within 200 ms"));
  EXPECT_GT(seconds, 0.19);
}

TEST(ThreadCommunicator, DifferentCallsAreReportedInsteadOfMixed) {
  const auto [calls, s1] = failure_of(
      3,
      [](Communicator& group) {
        int32_t x = 0;
        const TensorView view(&x, DType::kInt32, {1});
        if (group.rank() == 1)
          group.broadcast(view, 0).wait();
        else
          group.all_reduce(view, ReduceOp::kSum).wait();
      },
      60s);
  EXPECT_THAT(calls, HasSubstr("rank 0 calls all_reduce of int32[1], root 0; rank 1 calls broadcast of int32[1]"));
  const auto [shapes, s2] = failure_of(
      2,
      [](Communicator& group) {
        std::array<int32_t, 2> x{};
        group.all_reduce(TensorView(x.data(), DType::kInt32, {1 + group.rank()}), ReduceOp::kSum).wait();
      },
      60s);
  EXPECT_THAT(shapes, HasSubstr("rank 1 calls all_reduce of int32[2]"));
}

TEST(ThreadCommunicator, ReceivingFromARankThatLeftThrowsButItsLettersArrive) {
  const auto [message, seconds] = failure_of(
      2,
      [](Communicator& group) {
        int32_t x = 5;
        const TensorView view(&x, DType::kInt32, {1});
        if (group.rank() == 0) {
          group.send(view, 1).wait();
          return;
        }
        std::this_thread::sleep_for(20ms);
        x = 0;
        group.receive(view, 0).wait();
        EXPECT_EQ(x, 5);
        group.receive(view, 0).wait();
      },
      60s);
  EXPECT_THAT(message, HasSubstr("rank 1 receives from rank 0, which has left"));
}

TEST(ThreadCommunicator, ManySmallCollectivesInARowDoNotMix) {
  run_ranks(4, [](Communicator& group) {
    for (int32_t i = 0; i < 2000; ++i) {
      int32_t x = i + group.rank();
      const TensorView view(&x, DType::kInt32, {1});
      group.all_reduce(view, ReduceOp::kMax).wait();
      ASSERT_EQ(x, i + 3);
      group.broadcast(view, i % 4).wait();
      if (i % 3 == 0) group.barrier();
    }
  });
}

}  // namespace
}  // namespace retain
