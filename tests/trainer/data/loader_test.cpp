#include "trainer/data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "tests/trainer/data/token_files.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {
namespace {

using testing::HasSubstr;
constexpr int64_t kSeqLen = 12;
constexpr int32_t kEnd = 256;

/// Random documents of 1 to 30 tokens, `tokens` in all.
void write_random_set(const std::string& prefix, uint64_t key, int64_t tokens) {
  TokenWriter writer(prefix, 257);
  uint64_t counter = 0;
  while (writer.tokens() < tokens) {
    const auto length =
        std::min<int64_t>(tokens - writer.tokens(), 1 + static_cast<int64_t>(philox_bits(key, counter++) % 30));
    std::vector<int32_t> document;
    for (int64_t i = 1; i < length; ++i) document.push_back(static_cast<int32_t>(philox_bits(key, counter++) % 256));
    document.push_back(kEnd);
    writer.append(document);
    writer.end_document();
  }
  writer.finish();
}

struct LoaderCase {
  DataConfig data;
  TrainConfig train;
};

LoaderCase make_setup(const TestFolder& folder) {
  write_random_set(folder.file("a"), 1, 1000);
  write_random_set(folder.file("b"), 2, 300);
  LoaderCase setup;
  setup.data.train = {{folder.file("a"), 3}, {folder.file("b"), 1}};
  setup.data.seq_len = kSeqLen;
  setup.train.batch_tokens = 16 * kSeqLen;
  setup.train.micro_batch_tokens = 2 * kSeqLen;
  return setup;
}

/// One row of a step: (token, target, document_start) of each position. Rows of a step have no order of their own.
using Row = std::vector<std::array<int32_t, 3>>;

/// All sequences of a step, put together from all ranks of a mesh, and its number of targets.
std::pair<std::multiset<Row>, int64_t> gather_step(const LoaderCase& setup, const MeshShape& shape, int64_t step) {
  std::map<std::array<int64_t, 3>, Row> rows;  // (dp rank, micro-batch, sequence)
  int64_t targets = 0;
  for (int rank = 0; rank < shape.ranks(); ++rank) {
    const MeshCoordinate at = coordinate_of(shape, rank);
    TrainLoader loader(setup.data, setup.train, 257, 7, shape, at);
    for (int64_t micro = 0; micro < loader.micro_batches(); ++micro) {
      const HostBatch batch = loader.load(step, micro);
      EXPECT_EQ(batch.tokens, kSeqLen / shape.cp);
      if (at.tp == 0 && at.cp == 0) targets += batch.valid_targets;
      if (at.tp != 0) continue;
      for (int64_t b = 0; b < batch.sequences; ++b) {
        Row& row = rows[{at.dp, micro, b}];
        for (int64_t t = 0; t < batch.tokens; ++t) {  // cp ranks come in order
          const auto i = static_cast<size_t>(b * batch.tokens + t);
          row.push_back({batch.token_ids[i], batch.targets[i], batch.document_start[i]});
        }
      }
    }
  }
  std::multiset<Row> all;
  for (auto& [place, row] : rows) all.insert(row);
  return {all, targets};
}

TEST(TrainLoader, AStepHoldsTheSameSamplesOnEveryMesh) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  for (const int64_t step : {0, 1, 9}) {
    setup.train.micro_batch_tokens = 16 * kSeqLen;
    const auto [want, want_targets] = gather_step(setup, {1, 1, 1}, step);
    EXPECT_EQ(want.size(), 16);
    int64_t counted = 0;
    for (const Row& row : want) {
      counted += std::count_if(row.begin(), row.end(), [](const auto& position) { return position[1] >= 0; });
    }
    EXPECT_EQ(want_targets, counted);
    setup.train.micro_batch_tokens = 2 * kSeqLen;
    for (const MeshShape& shape : {MeshShape{1, 1, 1},
                                   {2, 1, 1},
                                   {8, 1, 1},
                                   {1, 2, 1},
                                   {1, 12, 1},
                                   {1, 1, 2},
                                   {2, 3, 2},
                                   {4, 4, 1},
                                   {3, 1, 1},
                                   {5, 2, 1},
                                   {7, 1, 2}}) {
      const auto [rows, targets] = gather_step(setup, shape, step);
      EXPECT_EQ(rows, want) << shape.describe();
      EXPECT_EQ(targets, want_targets) << shape.describe();
    }
  }
}

TEST(EndTokenBeforeWindows, StandsBeforeThoseThatBeginInsideADocument) {
  const TestFolder folder;
  LoaderCase setup;
  setup.data.seq_len = 4;
  setup.data.train = {{folder.file("a"), 1}};
  write_set(folder.file("a"), {{1, 2, 3, 4, 5, 6, kEnd}, {7, kEnd}, {10, 11, kEnd}, {12, 13, 14}});
  const auto windows = [&](bool before) {
    setup.data.end_token_before_windows = before;
    const EvalWindows reader(TokenSet(folder.file("a")), setup.data, 257, 1, {}, {});
    std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>> all;
    for (int64_t w = 0; w < reader.count(); ++w) {
      const HostBatch batch = reader.load(w);
      all.emplace_back(batch.token_ids, batch.targets);
    }
    return all;
  };
  using Window = std::pair<std::vector<int32_t>, std::vector<int32_t>>;
  EXPECT_EQ(windows(false), (std::vector<Window>{{{1, 2, 3, 4}, {2, 3, 4, 5}},
                                                 {{5, 6, kEnd, 7}, {6, kEnd, 7, kEnd}},
                                                 {{kEnd, 10, 11, kEnd}, {10, 11, kEnd, 12}},
                                                 {{12, 13, 14, 0}, {13, 14, -1, -1}}}));
  // The first begins the set, the third a document; the last follows an end token, which is its own.
  EXPECT_EQ(windows(true), (std::vector<Window>{{{1, 2, 3, 4}, {2, 3, 4, 5}},
                                                {{kEnd, 5, 6, kEnd}, {-1, 6, kEnd, 7}},
                                                {{kEnd, 10, 11, kEnd}, {10, 11, kEnd, 12}},
                                                {{kEnd, 12, 13, 14}, {12, 13, 14, -1}}}));
}

// Where the index has borders that no end token is at, and where the state is never reset.
TEST(EndTokenBeforeWindows, LeavesBordersOfTheIndexAlone) {
  const TestFolder folder;
  LoaderCase setup;
  setup.data.seq_len = 3;
  setup.data.end_of_document = 200;
  setup.data.end_token_before_windows = true;
  write_set(folder.file("a"), {{1, 2, 3}, {4, 5, 6, 7, 8, 9, 10}});
  for (const bool reset : {true, false}) {
    setup.data.reset_state_at_documents = reset;
    const EvalWindows reader(TokenSet(folder.file("a")), setup.data, 257, 3, {}, {});
    const HostBatch batch = reader.load(0);
    EXPECT_EQ(batch.token_ids, (std::vector<int32_t>{1, 2, 3, 4, 5, 6, 200, 7, 8})) << reset;
    EXPECT_EQ(batch.targets, (std::vector<int32_t>{2, 3, reset ? -1 : 4, 5, 6, 7, -1, 8, 9})) << reset;
    EXPECT_EQ(batch.document_start, std::vector<int32_t>(9, 0)) << "nothing is reset behind what is put there";
  }
}

TEST(EndTokenBeforeWindows, IsTheSameOnEveryMesh) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  setup.data.end_token_before_windows = true;
  setup.train.micro_batch_tokens = 16 * kSeqLen;
  const auto [want, want_targets] = gather_step(setup, {1, 1, 1}, 3);
  setup.train.micro_batch_tokens = 2 * kSeqLen;
  for (const MeshShape& shape : {MeshShape{2, 3, 2}, {5, 2, 1}, {1, 12, 1}}) {
    const auto [rows, targets] = gather_step(setup, shape, 3);
    EXPECT_EQ(rows, want) << shape.describe();
    EXPECT_EQ(targets, want_targets) << shape.describe();
  }
  int64_t put = 0;
  for (const Row& row : want) put += row[0][0] == kEnd && row[0][1] < 0 ? 1 : 0;
  EXPECT_GT(put, 8) << "of 16 windows";
}

// Of 8 micro-batches a step, on any number of replicas up to 8, which changes between the steps.
TEST(TrainLoader, DealsMicroBatchJToReplicaJModDp) {
  const TestFolder folder;
  const LoaderCase setup = make_setup(folder);
  TrainLoader one(setup.data, setup.train, 257, 7, {}, {});
  for (int dp = 1; dp <= 8; ++dp) {
    const Dealing dealing{.micro_batches = 8, .replicas = dp};
    std::vector<std::unique_ptr<TrainLoader>> replicas;
    for (int r = 0; r < dp; ++r)
      replicas.push_back(
          std::make_unique<TrainLoader>(setup.data, setup.train, 257, 7, MeshShape{dp, 1, 1}, MeshCoordinate{r, 0, 0}));
    for (const int64_t step : {dp, dp + 1, dp + 2}) {
      for (int64_t j = 0; j < 8; ++j) {
        TrainLoader& replica = *replicas[static_cast<size_t>(j % dp)];
        EXPECT_EQ(replica.load(step, j / dp).token_ids, one.load(step, j).token_ids) << dp << " replicas, number " << j;
      }
    }
    int64_t dealt = 0, most = 0;
    for (int r = 0; r < dp; ++r) {
      dealt += replicas[static_cast<size_t>(r)]->micro_batches();
      most = std::max(most, dealing.of(r));
      EXPECT_EQ(replicas[static_cast<size_t>(r)]->micro_batches(), dealing.of(r));
      EXPECT_EQ(replicas[static_cast<size_t>(r)]->rounds(), dealing.rounds());
      EXPECT_EQ(replicas[static_cast<size_t>(r)]->samples(), 16);
    }
    EXPECT_EQ(dealt, 8);
    EXPECT_EQ(most, dealing.rounds());
  }
  EXPECT_THROW(TrainLoader(setup.data, setup.train, 257, 7, {9, 1, 1}, {}), Error);
}

TEST(Dealing, SaysWhatUnevennessCosts) {
  EXPECT_EQ((Dealing{16, 3}).describe(), "16 micro-batches over 3 replicas: 6 + 5 + 5, 11 % of the time idle");
  EXPECT_EQ((Dealing{512, 126}).describe(),
            "512 micro-batches over 126 replicas: 5 on 8 and 4 on 118, 19 % of the time idle");
  EXPECT_EQ((Dealing{16, 4}).describe(), "16 micro-batches over 4 replicas: 4 each");
  EXPECT_EQ((Dealing{16, 4}).idle(), 0);
  EXPECT_DOUBLE_EQ((Dealing{16, 3}).idle(), 2.0 / 18);
}

TEST(TrainLoader, OneEpochCoversEveryWindowOnce) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  setup.data.train.resize(1);
  setup.train.batch_tokens = setup.train.micro_batch_tokens = kSeqLen;
  TrainLoader loader(setup.data, setup.train, 257, 7, {}, {});
  const TokenSet set(folder.file("a"));
  const int64_t windows = whole_windows(set.tokens(), kSeqLen);
  std::multiset<std::vector<int32_t>> want, got;
  for (int64_t w = 0; w < windows; ++w) {
    std::vector<int32_t> tokens(kSeqLen);
    set.read(w * kSeqLen, tokens);
    want.insert(tokens);
    got.insert(loader.load(w, 0).token_ids);
  }
  EXPECT_EQ(got, want);
}

TEST(TrainLoader, ABatchIsAFunctionOfItsStep) {
  const TestFolder folder;
  const LoaderCase setup = make_setup(folder);
  TrainLoader forward(setup.data, setup.train, 257, 7, {}, {}), jumping(setup.data, setup.train, 257, 7, {}, {});
  std::map<std::pair<int64_t, int64_t>, HostBatch> want;
  for (int64_t step = 0; step < 6; ++step) {
    for (int64_t micro = 0; micro < forward.micro_batches(); ++micro) want[{step, micro}] = forward.load(step, micro);
  }
  for (const auto& [step, micro] :
       std::vector<std::pair<int64_t, int64_t>>{{5, 7}, {0, 0}, {0, 0}, {3, 2}, {3, 3}, {3, 5}, {2, 7}}) {
    const HostBatch batch = jumping.load(step, micro);
    EXPECT_EQ(batch.token_ids, (want[{step, micro}].token_ids));
    EXPECT_EQ(batch.token_order, (want[{step, micro}].token_order));
  }
  EXPECT_NE((want[{0, 0}].token_ids), (want[{0, 1}].token_ids));
}

TEST(TrainLoader, AStepOfAnotherBatchBeginsAtAnySample) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  setup.train.micro_batch_tokens = kSeqLen;
  TrainLoader one(setup.data, setup.train, 257, 7, {}, {});  // 16 samples a step, one a micro-batch
  std::vector<std::vector<int32_t>> samples;
  for (int64_t i = 0; i < 32; ++i) samples.push_back(one.load(i / 16, i % 16).token_ids);
  setup.train.batch_tokens = 6 * kSeqLen;
  for (int rank = 0; rank < 2; ++rank) {
    TrainLoader two(setup.data, setup.train, 257, 7, {2, 1, 1}, {rank, 0, 0});
    ASSERT_EQ(two.samples(), 6);
    for (const int64_t first : {16, 22, 5}) {
      for (int64_t micro = 0; micro < 3; ++micro) {
        EXPECT_EQ(two.load_from(first, micro).token_ids, samples[static_cast<size_t>(first + micro * 2 + rank)]);
      }
    }
  }
}

// Of 2^33 tokens, in a file with a hole: the samples of a step lie in all of it.
TEST(TrainLoader, ReadsSetsOfMoreTokensThan32BitsCount) {
  constexpr int64_t kTokens = (int64_t{1} << 33) + 1;
  const TestFolder folder;
  write_file(folder.file("train.bin"), "");
  std::error_code error;
  std::filesystem::resize_file(folder.file("train.bin"), 2 * kTokens, error);
  if (error) GTEST_SKIP() << "no file of 16 GiB here: " << error.message();
  LoaderCase setup = make_setup(folder);
  setup.data.train = {{"nanogpt:" + folder.file("train.bin"), 1}};
  setup.data.seq_len = 2;
  setup.train.batch_tokens = setup.train.micro_batch_tokens = 128;
  TrainLoader loader(setup.data, setup.train, 257, 7, {}, {});
  int64_t beyond = 0;
  for (int64_t step = 0; step < 4; ++step) {
    EXPECT_EQ(loader.load(step, 0).valid_targets, 128);
    for (int64_t b = 0; b < loader.samples(); ++b) {
      const int64_t begin = 2 * loader.sample(step * loader.samples() + b).window;
      EXPECT_LT(begin, kTokens - 1);
      beyond += begin > int64_t{1} << 32 ? 1 : 0;
    }
  }
  EXPECT_NEAR(static_cast<double>(beyond), 128, 50);  // half of 256
}

TEST(TrainLoader, ContentsAreThoseOfTheSetsAndTheirWeights) {
  const TestFolder folder;
  const LoaderCase setup = make_setup(folder);
  const auto contents = [&](const LoaderCase& s, uint64_t seed) {
    return TrainLoader(s.data, s.train, 257, seed, {}, {}).contents();
  };
  const uint64_t original = contents(setup, 7);
  EXPECT_EQ(original, contents(setup, 8));
  LoaderCase changed = setup;
  changed.data.train[0].weight = 2;
  EXPECT_NE(original, contents(changed, 7));
  for (const double scale : {0.1, 0.25, 5.0}) {  // the same order
    changed.data.train[0].weight = 3 * scale;
    changed.data.train[1].weight = scale;
    EXPECT_EQ(original, contents(changed, 7)) << scale;
  }
  changed = setup;
  std::swap(changed.data.train[0].path, changed.data.train[1].path);
  EXPECT_NE(original, contents(changed, 7));
  changed = setup;  // what a configuration says by itself is compared by itself
  changed.data.seq_len *= 2;
  changed.train.micro_batch_tokens *= 2;
  changed.train.batch_tokens *= 2;
  changed.data.reset_state_at_documents = false;
  EXPECT_EQ(original, contents(changed, 7));
}

TEST(TrainLoader, RefusesSetsThatAreMissingTooShortOrEmpty) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  const auto message = [&](ErrorKind kind) {
    return message_of(kind, [&] { TrainLoader(setup.data, setup.train, 257, 7, {}, {}); });
  };
  setup.data.train = {{folder.file("none"), 1}};
  EXPECT_THAT(message(ErrorKind::kMissingInput), HasSubstr("none.idx"));
  write_set(folder.file("short"), {std::vector<int32_t>(kSeqLen, 1)});
  setup.data.train = {{folder.file("short"), 1}};
  EXPECT_THAT(message(ErrorKind::kData), HasSubstr("holds 12 tokens, want at least data.seq_len + 1 = 13"));
  setup.data.train.clear();
  EXPECT_THAT(message(ErrorKind::kConfig), HasSubstr("data.train"));
}

TEST(TrainLoader, RefusesAVocabularyTooSmallForTheTokenizer) {
  const TestFolder folder;
  const LoaderCase setup = make_setup(folder);
  EXPECT_THAT(message_of(ErrorKind::kConfig, [&] { TrainLoader(setup.data, setup.train, 256, 7, {}, {}); }),
              HasSubstr("256 is less than the 257 tokens"));
}

TEST(TrainLoader, RefusesASetOfWhichNothingIsPredicted) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  std::vector<std::vector<int32_t>> documents;
  for (int32_t i = 0; i < 40; ++i) documents.push_back({i});
  write_set(folder.file("b"), documents);
  const TrainLoader loader(setup.data, setup.train, 257, 7, {}, {});
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { static_cast<void>(loader.look_at()); }),
              HasSubstr("b: nothing can be predicted in its first 40 tokens"));
}

TEST(TrainLoader, AnErrorOfThePrefetchingThreadReachesLoad) {
  const TestFolder folder;
  LoaderCase setup = make_setup(folder);
  write_set(folder.file("bad"), {std::vector<int32_t>(200, 300)}, 400);
  setup.data.train = {{folder.file("bad"), 1}};
  TrainLoader loader(setup.data, setup.train, 257, 7, {}, {});
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { loader.load(0, 0); }), HasSubstr("found 300, want 0 to 256"));
  }
}

HostBatch numbered(int64_t ordinal) {
  HostBatch batch;
  batch.valid_targets = ordinal;
  return batch;
}

TEST(Prefetcher, MakesBatchesAheadUpToItsDepth) {
  std::atomic<int64_t> made = 0;
  Prefetcher prefetcher(
      [&](int64_t ordinal) {
        made.fetch_add(1);
        return numbered(ordinal);
      },
      4);
  EXPECT_EQ(made.load(), 0);  // nothing is made before the first step is known
  EXPECT_EQ(prefetcher.take(10).valid_targets, 10);
  for (int wait = 0; wait < 2000 && made.load() < 5; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(made.load(), 5);
  for (int64_t i = 11; i < 500; ++i) ASSERT_EQ(prefetcher.take(i).valid_targets, i);
}

TEST(Prefetcher, StartsAfreshWhereTheOrderBreaks) {
  Prefetcher prefetcher(numbered, 3);
  for (uint64_t i = 0; i < 300; ++i) {
    const auto ordinal = static_cast<int64_t>(philox_bits(1, i) % 4 ? i : philox_bits(2, i) % 50);
    ASSERT_EQ(prefetcher.take(ordinal).valid_targets, ordinal);
  }
}

TEST(Prefetcher, ThrowsForTheBatchThatFailedAndGoesOn) {
  Prefetcher prefetcher(
      [](int64_t ordinal) {
        if (ordinal == 3) throw Error(ErrorKind::kIo, "batch 3");
        return numbered(ordinal);
      },
      2);
  for (int64_t i = 0; i < 8; ++i) {
    if (i == 3) {
      EXPECT_EQ(message_of(ErrorKind::kIo, [&] { prefetcher.take(3); }), "batch 3");
    } else {
      EXPECT_EQ(prefetcher.take(i).valid_targets, i);
    }
  }
}

TEST(Prefetcher, EndsWhileABatchIsBeingMade) {
  for (int i = 0; i < 20; ++i) {
    Prefetcher prefetcher(
        [](int64_t ordinal) {
          std::this_thread::sleep_for(std::chrono::microseconds(200));
          return numbered(ordinal);
        },
        8);
    if (i % 2 == 0) {
      EXPECT_EQ(prefetcher.take(i).valid_targets, i);
    }
  }
}

TEST(EvalWindows, EveryTokenButTheFirstIsPredictedOnceOnEveryMesh) {
  const TestFolder folder;
  DataConfig data;
  data.seq_len = kSeqLen;
  data.reset_state_at_documents = false;
  for (const int64_t tokens : {2, 12, 13, 14, 25, 100, 121}) {
    std::vector<int32_t> document;
    for (int64_t i = 0; i < tokens; ++i) document.push_back(static_cast<int32_t>(i));
    write_set(folder.file("a"), {document});
    for (const MeshShape& shape : {MeshShape{1, 1, 1}, {3, 1, 1}, {2, 4, 1}}) {
      std::vector<int32_t> predicted;
      int64_t valid = 0;
      for (int rank = 0; rank < shape.ranks(); ++rank) {
        const MeshCoordinate at = coordinate_of(shape, rank);
        const EvalWindows windows(TokenSet(folder.file("a")), data, 257, 2, shape, at);
        EXPECT_EQ(windows.windows(), (tokens - 1 + kSeqLen - 1) / kSeqLen);
        for (int64_t i = 0; i < windows.count(); ++i) {
          const HostBatch batch = windows.load(i);
          ASSERT_EQ(static_cast<int64_t>(batch.token_ids.size()), 2 * kSeqLen / shape.cp);
          if (at.cp == 0) valid += batch.valid_targets;
          for (size_t k = 0; k < batch.targets.size(); ++k) {
            if (batch.targets[k] < 0) continue;
            EXPECT_EQ(batch.targets[k], batch.token_ids[k] + 1);
            predicted.push_back(batch.targets[k]);
          }
        }
      }
      std::sort(predicted.begin(), predicted.end());
      EXPECT_EQ(predicted, std::vector<int32_t>(document.begin() + 1, document.end())) << tokens << shape.describe();
      EXPECT_EQ(valid, tokens - 1);
    }
  }
}

TEST(EvalWindows, ScoresWhatItsDocumentsSayInWindowsOfAnyLength) {
  const TestFolder folder;
  // "ab", "c" and "de" with end tokens, then "fg" and "h", whose borders only the index knows.
  write_set(folder.file("a"), {{'a', 'b', kEnd}, {'c', kEnd}, {'d', 'e', kEnd}, {'f', 'g'}, {'h', 'i'}});
  DataConfig data;
  for (const int64_t seq_len : {1, 2, 3, 4, 11, 50}) {
    data.seq_len = seq_len;
    const EvalWindows windows(TokenSet(folder.file("a")), data, 257, 1, {}, {});
    std::vector<int32_t> targets;
    for (int64_t i = 0; i < windows.count(); ++i) {
      const HostBatch batch = windows.load(i);
      for (const int32_t target : batch.targets) {
        if (target >= 0) targets.push_back(target);
      }
    }
    EXPECT_EQ(targets, (std::vector<int32_t>{'b', kEnd, 'c', kEnd, 'd', 'e', kEnd, 'f', 'g', 'i'})) << seq_len;
  }
}

TEST(EvalWindows, RefusesASetOfWhichNothingIsPredicted) {
  const TestFolder folder;
  write_set(folder.file("a"), {{1}, {2}, {3}, {4}});
  DataConfig data;
  data.seq_len = kSeqLen;
  const EvalWindows windows(TokenSet(folder.file("a")), data, 257, 1, {}, {});
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { static_cast<void>(windows.look_at()); }),
              HasSubstr("a: nothing can be predicted in its first 4 tokens"));
  data.reset_state_at_documents = false;
  EXPECT_EQ(EvalWindows(TokenSet(folder.file("a")), data, 257, 1, {}, {}).look_at().size(), 0);
}

TEST(EvalWindows, StopsAtTheTokensAskedFor) {
  const TestFolder folder;
  write_set(folder.file("a"), {std::vector<int32_t>(1000, 1)});
  DataConfig data;
  data.seq_len = kSeqLen;
  const EvalWindows some(TokenSet(folder.file("a")), data, 257, 1, {}, {}, 30);
  EXPECT_EQ(some.windows(), 3);
  const EvalWindows all(TokenSet(folder.file("a")), data, 257, 1, {}, {}, 1'000'000);
  EXPECT_EQ(all.windows(), 84);
  write_set(folder.file("one"), {{1}});
  message_of(ErrorKind::kData, [&] { EvalWindows(TokenSet(folder.file("one")), data, 257, 1, {}, {}); });
}

}  // namespace
}  // namespace retain
