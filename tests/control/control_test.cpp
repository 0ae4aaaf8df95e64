// What a rank asks of the others and of the file system, counted at several numbers of ranks: messages grow with the
// log2 of the ranks, opens and bytes do not grow. The limits here are the table of tests/bench/control.md, which says
// how messages are counted.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/tiny_run.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using Counts = std::map<std::string, int64_t>;

constexpr int64_t kRenewals = 8;  // opens of the lock, each 4 s, on a machine that takes its time

void read_counts(const std::string& path, Counts& counts) {
  std::ifstream in(path);
  std::string name;
  for (int64_t count = 0; in >> name >> count;) counts[name] = count;
}

int log2_of(int ranks) { return std::bit_width(static_cast<unsigned>(ranks - 1)); }

/// Messages that a rank sends at most: its own, and those of trees of MPI, of which it may be the root. Open MPI's
/// MPI_Iallgather sends one to each rank.
int64_t messages(const Counts& counts, int ranks) {
  const auto of = [&](const char* name) { return counts.at(name); };
  return of("sends") + log2_of(ranks) * (of("broadcasts") + 2 * of("reductions") + of("barriers")) +
         (ranks - 1) * of("gathers");
}

/// What one part of a run costs each rank.
using Cost = std::vector<Counts>;

/// How much more the first run costs than the second, for one of `parts`, rounded up.
Cost difference(const Cost& more, const Cost& less, int64_t parts) {
  Cost cost = more;
  for (size_t rank = 0; rank < cost.size(); ++rank) {
    for (auto& [name, count] : cost[rank]) count = (count - less[rank].at(name) + parts - 1) / parts;
  }
  return cost;
}

class Control : public ::testing::Test {
 protected:
  Control() {
    write_tiny_text(folder_.path(), 2'000'000);
    std::ofstream(folder_.path() + "/tiny.yaml")
        << "model: {layers: 2, hidden_size: 32, heads: 4, ffn_size: 48, vocab_size: 257}\n"
        << "data: {train: [{path: text}], valid: {held: text}, seq_len: 32}\n"
        << "train: {micro_batch_tokens: 32, chunk: 16}\neval: {every: 0, tokens: 256}\nschedule: {warmup: 1}\n"
        << "checkpoint: {every: 0, keep: 2, async: false}\ndevice: cpu\n";
  }

  /// Trains on that many ranks to that step, two of them a replica, and gives what each rank asked for.
  Cost train(int ranks, const std::string& run, int64_t steps, const std::string& more = "") {
    const int64_t batch = 32 * std::max(1, ranks / 2);
    const std::string counts = folder_.path() + "/counts", out = folder_.path() + "/out";
    std::string command =
        concat("env FAULT_DIR=", folder_.path(), " FAULT_COUNTS=", counts, ".files MESSAGE_COUNTS=", counts,
               ".messages LD_PRELOAD=" RETAIN_FAULT_SHIM, ranks > 1 ? ":" RETAIN_MESSAGE_COUNTER : "",
               " " RETAIN_PROGRAM " train tiny.yaml --set run.dir=", run, " --set train.batch_tokens=", batch,
               " --set train.tokens=", steps * batch, " --set parallel.tp=", std::min(2, ranks), " ", more);
    if (ranks > 1) command = concat(RETAIN_MPIEXEC " -n ", ranks, " --oversubscribe --bind-to none ", command);
    const int status = std::system(concat("cd ", folder_.path(), " && ", command, " >", out, " 2>&1").c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << read_text(File::open(out), 1 << 20);
    Cost cost(static_cast<size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      for (const char* of : {".files.", ".messages."}) {
        read_counts(concat(counts, of, rank), cost[static_cast<size_t>(rank)]);
      }
    }
    return cost;
  }

  const TemporaryDirectory folder_;
  int runs_ = 0;
};

/// What a part of a run may cost. Messages: so many for each doubling of the ranks, and a few that do not grow, such as
/// those of the tree along which the records of shards come to rank 0. Opens and bytes: of rank 0, and of any other; a
/// batch that is loaded ahead counts or does not.
struct Limit {
  const char* part;
  int64_t messages_a_doubling, opens_of_rank_0, opens, read_bytes;
};

constexpr int64_t kSampled = 2 * (64 << 12);  // of two sets
constexpr int64_t kTreeMessages = 10;
constexpr std::array<Limit, 5> kLimits = {{
    {"a start, a step, a save, the end", 57, 38, 5, kSampled + 4000},
    {"a further step", 1, 0, 0, 1000},
    {"a further save", 11, 11, 0, 1000},
    {"a resume, a step, a save, the end", 66, 46, 7, kSampled + 160'000},  // with its part of the checkpoint
    {"a start with --init-from, the same", 72, 43, 7, kSampled + 160'000},
}};

/// The most of each count among all ranks but the first.
Counts most_of_others(const Cost& cost) {
  Counts most = cost[1];
  for (size_t rank = 2; rank < cost.size(); ++rank) {
    for (const auto& [name, count] : cost[rank]) most[name] = std::max(most[name], count);
  }
  return most;
}

void expect_within(const Limit& limit, const Cost& cost, int ranks) {
  const Counts others = most_of_others(cost);
  int64_t most_messages = 0;
  for (const Counts& counts : cost) most_messages = std::max(most_messages, messages(counts, ranks));
  std::printf("%2d ranks, %s: messages %d, opens %d and %d, bytes %d and %d\n", ranks, limit.part,
              static_cast<int>(most_messages), static_cast<int>(cost[0].at("opens")),
              static_cast<int>(others.at("opens")), static_cast<int>(cost[0].at("read_bytes")),
              static_cast<int>(others.at("read_bytes")));
  EXPECT_LE(most_messages, limit.messages_a_doubling * log2_of(ranks) + kTreeMessages);
  EXPECT_LE(cost[0].at("opens"), limit.opens_of_rank_0 + kRenewals);
  EXPECT_LE(others.at("opens"), limit.opens);
  EXPECT_LE(others.at("lists") + others.at("looks"), 0) << "rank 0 looks for all";
  EXPECT_LE(others.at("read_bytes"), limit.read_bytes);
}

TEST_F(Control, MessagesGrowWithTheLogarithmOfTheRanksAndOpensAndBytesDoNot) {
  for (const int ranks : {8, 16, 32}) {
    const auto in = [&](const char* run) { return concat(run, ranks); };
    const Cost start = train(ranks, in("start"), 1), steps = train(ranks, in("steps"), 5);
    const Cost saves = train(ranks, in("saves"), 5, "--set checkpoint.every=1");
    const Cost resume = train(ranks, in("start"), 2);
    const Cost begun = train(ranks, in("begun"), 1, concat("--init-from ", folder_.path(), "/", in("start")));
    const std::array<Cost, kLimits.size()> costs = {start, difference(steps, start, 4), difference(saves, steps, 4),
                                                    resume, begun};
    for (size_t i = 0; i < costs.size(); ++i) {
      SCOPED_TRACE(concat(ranks, " ranks, ", kLimits[i].part));
      expect_within(kLimits[i], costs[i], ranks);
    }
  }
}

TEST_F(Control, ASaveOpensNoMoreTheMoreStepsAreKept) {
  for (const char* kept : {"--set checkpoint.keep=100", "--set checkpoint.keep_every=2 --set checkpoint.keep_best=2"}) {
    const std::string more = concat("--set checkpoint.every=1 --set eval.every=1 --set eval.tokens=32 ", kept);
    std::vector<Counts> runs;
    for (const int64_t steps : {4, 10, 16}) {
      runs.push_back(train(1, concat("run", ++runs_), steps, more)[0]);
    }
    for (const char* what : {"opens", "lists", "looks"}) {
      EXPECT_LE(runs[2].at(what) - runs[1].at(what), runs[1].at(what) - runs[0].at(what) + kRenewals)
          << what << " with " << kept;
    }
  }
}

}  // namespace
}  // namespace retain::test
