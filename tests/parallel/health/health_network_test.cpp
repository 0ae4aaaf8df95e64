// Ranks as threads, each with its own sockets.
#include "parallel/health/health_network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "tests/support/ranks.h"

namespace retain {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(HealthTree, HasFourBelowEachAndReachesAll) {
  EXPECT_EQ(tree_place(0, 1).parent, -1);
  EXPECT_THAT(tree_place(0, 1).children, IsEmpty());
  EXPECT_THAT(tree_place(0, 4).children, ElementsAre(1, 2, 3));
  EXPECT_THAT(tree_place(1, 7).children, ElementsAre(5, 6));
  for (int rank = 1; rank < 5000; ++rank) {
    const TreePlace place = tree_place(rank, 5000);
    ASSERT_LE(place.children.size(), 4U);
    ASSERT_LT(place.parent, rank);
    ASSERT_THAT(tree_place(place.parent, 5000).children, ::testing::Contains(rank));
  }
}

HealthMessage page_at(int64_t step) {
  HealthMessage message;
  message.page.step = step;
  return message;
}

std::optional<HealthMessage> await_message(HealthNetwork& network) {
  for (int look = 0; look < 200; ++look) {
    if (const auto message = network.receive()) return message;
    network.await(50);
  }
  return std::nullopt;
}

TEST(HealthNetwork, CarriesPagesBothWays) {
  test::run_ranks(3, [](Communicator& host) {
    HealthNetwork network(host);
    EXPECT_EQ(network.ranks(), 3);
    if (network.rank() > 0) {
      network.send(0, page_at(network.rank()));
      const auto answer = await_message(network);
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->from, 0);
      EXPECT_EQ(answer->page.step, 100 + network.rank());
    } else {
      for (int other = 1; other < 3; ++other) {
        const auto message = await_message(network);
        ASSERT_TRUE(message);
        EXPECT_EQ(message->page.step, message->from);
        EXPECT_TRUE(network.on_this_machine(message->from));
        network.send(message->from, page_at(100 + message->from));
      }
    }
    host.barrier();
  });
}

/// Sends bytes to where a rank said that it is.
void send_stray(const std::string& address_text, const void* bytes, size_t count) {
  const size_t begin = address_text.find('(') + 1, colon = address_text.find(':', begin);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  ASSERT_EQ(::inet_pton(AF_INET, address_text.substr(begin, colon - begin).c_str(), &to.sin_addr), 1);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address_text.substr(colon + 1))));
  const int stray = ::socket(AF_INET, SOCK_DGRAM, 0);
  EXPECT_EQ(::sendto(stray, bytes, count, 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), ssize_t(count));
  ::close(stray);
}

TEST(HealthNetwork, IgnoresWhateverLacksTheSecretOrIsForAnother) {
  test::run_ranks(2, [](Communicator& host) {
    HealthNetwork network(host);
    if (network.rank() == 1) {
      HealthMessage verdict;  // of a stranger who guesses all but the secret
      verdict.kind = HealthMessage::Kind::kVerdict;
      send_stray(network.address_of(0), &verdict, sizeof(verdict));
      send_stray(network.address_of(0), "short", 5);
      const std::vector<char> large(sizeof(verdict) + 100, 'x');
      send_stray(network.address_of(0), large.data(), large.size());
      network.send(0, page_at(7));
    } else {
      const auto message = await_message(network);
      ASSERT_TRUE(message);
      EXPECT_EQ(message->kind, HealthMessage::Kind::kPage);
      EXPECT_EQ(message->page.step, 7);
      EXPECT_FALSE(network.receive());
    }
    host.barrier();
  });
}

RankPage page(int rank, int64_t step, int64_t collectives, int64_t idle_ms, bool waits) {
  RankPage page;
  page.rank = rank;
  page.step = step;
  page.collectives = collectives;
  page.idle_ms = idle_ms;
  page.waits_for_ranks = waits ? 1 : 0;
  return page;
}

TEST(SubtreePage, KeepsWhoIsFurthestBehindAndWhetherAllWait) {
  SubtreePage below, all;
  below.add(page(5, 12, 80, 900, true));
  below.add(page(6, 12, 79, 950, true));
  all.add(page(1, 12, 81, 800, true));
  all.add(below);
  all.add(SubtreePage{});
  EXPECT_EQ(all.ranks, 3);
  EXPECT_EQ(all.all_wait, 1);
  EXPECT_EQ(all.idle_ms, 800);
  EXPECT_EQ(all.behind.rank, 6);
  all.add(page(2, 12, 85, 5, false));
  EXPECT_EQ(all.all_wait, 0);
  EXPECT_EQ(all.idle_ms, 5);
}

TEST(RankPage, SaysWhereARankIs) {
  Activity activity;
  activity.at_step(120);
  activity.begin_phase("forward");
  activity.at_layer(3);
  activity.device_at({.phase = "loss and backward", .layer = 4});
  activity.ended_collective();
  RankPage mine;
  mine.host = std::string(100, 'h');
  activity.wait(WaitsFor::kRanks, "all_reduce", [&] {
    mine = page_of(mine, activity.view(), 10);
    return true;
  });
  EXPECT_EQ(place_of(mine),
            "step 120, forward, layer 3, waiting in all_reduce (its GPU in loss and backward, layer 4), 1 collectives "
            "done");
  EXPECT_EQ(name_of(mine), concat("rank 0 on ", std::string(63, 'h'), " (pid 0)"));
  EXPECT_EQ(activity.view().waits_for, WaitsFor::kNothing);
}

}  // namespace
}  // namespace retain
