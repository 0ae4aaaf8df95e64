// What ranks tell each other and agree about, on every group.
#include "parallel/agreement.h"

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace retain::test {
namespace {

TEST(Agreement, OneRankIsEnoughForNotEvery) {
  on_every_group([](Communicator& host) {
    EXPECT_TRUE(on_every_rank(host, true));
    EXPECT_FALSE(on_every_rank(host, false));
    for (int rank = 0; rank < host.size(); ++rank) EXPECT_FALSE(on_every_rank(host, rank != host.rank()));
  });
}

TEST(Agreement, ATextOfAnyLengthAndBytesArrives) {
  on_every_group([](Communicator& host) {
    const int root = host.size() - 1;
    for (const std::string& text : {std::string(), std::string("a\0b\xff", 4), std::string(100'000, 'x')}) {
      EXPECT_EQ(broadcast_text(host, host.rank() == root ? text : "what stood here before", root), text);
    }
    const std::vector<std::string> texts = gather_texts(host, std::string(static_cast<size_t>(host.rank()), 'x'));
    ASSERT_EQ(static_cast<int>(texts.size()), host.rank() == 0 ? host.size() : 0);
    for (size_t rank = 0; rank < texts.size(); ++rank) EXPECT_EQ(texts[rank], std::string(rank, 'x'));
  });
}

TEST(Agreement, WhatFailsOnOneRankFailsOnAllWithItsWords) {
  on_every_group([](Communicator& host) {
    EXPECT_TRUE(agree(host, {}).ok);
    const int failing = host.size() / 2;  // and all after it: the lowest speaks
    const Outcome all = agree(host, attempt([&] {
                                if (host.rank() >= failing)
                                  throw Error(ErrorKind::kIo, concat("disk of ", host.rank()));
                              }));
    EXPECT_FALSE(all.ok);
    EXPECT_EQ(all.kind, ErrorKind::kIo);
    EXPECT_EQ(all.message, concat(host.size() > 1 ? concat("rank ", failing, ": ") : "", "disk of ", failing));
    EXPECT_THROW(all.throw_if_failed(), Error);
    const Outcome first = broadcast_outcome(host, {host.rank() != 0, ErrorKind::kData, concat(host.rank())}, 0);
    EXPECT_FALSE(first.ok);
    EXPECT_EQ(first.message, "0");
  });
}

// The odd rank is named, whether it is rank 0 or another; of two nobody knows which, and rank 0 is believed.
TEST(Agreement, TheRankThatWasStartedOtherwiseIsNamedWithBothValues) {
  on_every_group([](Communicator& host) {
    const std::string name = concat("gpu", host.rank());
    const Facts alike = {{"build", "1a2b"}, {"optimizer.lr", "0.001"}, {"argument 1", "train"}};
    EXPECT_NO_THROW(agree_on_facts(host, alike, name));
    EXPECT_NO_THROW(agree_on_facts(host, {}, name));
    if (host.size() == 1) return;
    const auto refusal = [&](int odd, const Facts& its) {
      try {
        agree_on_facts(host, host.rank() == odd ? its : alike, name);
      } catch (const SharedError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kConfig);
        return std::string(error.what());
      }
      return std::string();
    };
    const int last = host.size() - 1;
    Facts other = alike;
    other["optimizer.lr"] = "0.5";
    EXPECT_NE(
        refusal(last, other)
            .find(concat("rank ", last, " on gpu", last, " has optimizer.lr = 0.5, and rank 0 on gpu0 has 0.001;")),
        std::string::npos);
    other.erase("optimizer.lr");
    other["model.layers"] = "3";
    const std::string two = refusal(last, other);
    EXPECT_NE(two.find("model.layers = 3, and rank 0 on gpu0 has not given"), std::string::npos) << two;
    EXPECT_NE(two.find("optimizer.lr = not given, and rank 0 on gpu0 has 0.001"), std::string::npos) << two;
    if (host.size() > 2) {
      EXPECT_NE(refusal(0, other).find("rank 0 on gpu0 has model.layers = 3, and rank 1 on gpu1 has not given"),
                std::string::npos);
    }
  });
}

TEST(Agreement, WhatIsDoneAlikeFailsAlikeUnlessMemoryRanOutHere) {
  EXPECT_THROW(do_alike([] { throw Error(ErrorKind::kData, "x"); }), SharedError);
  try {
    do_alike([] { throw std::bad_alloc(); });
    FAIL();
  } catch (const SharedError&) {
    FAIL() << "another rank has memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
  }
}

TEST(Agreement, AnAttemptKeepsTheKindOfEveryException) {
  EXPECT_EQ(attempt([] { throw Error(ErrorKind::kData, "x"); }).kind, ErrorKind::kData);
  EXPECT_EQ(attempt([] { throw std::bad_alloc(); }).kind, ErrorKind::kOutOfMemory);
  EXPECT_EQ(attempt([] { throw std::system_error(EIO, std::generic_category()); }).kind, ErrorKind::kIo);
  EXPECT_EQ(attempt([] { throw std::runtime_error("x"); }).kind, ErrorKind::kInternal);
}

}  // namespace
}  // namespace retain::test
