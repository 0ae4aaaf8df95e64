#include "trainer/data/host_batch.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "kernels/core/random.h"

namespace retain {
namespace {

constexpr int32_t kEnd = 9;
using Ints = std::vector<int32_t>;

BatchLayout layout(int64_t sequences, int64_t seq_len) {
  return {.sequences = sequences, .seq_len = seq_len, .vocab_size = 10};
}

/// These tokens, of which kEnd ends documents, with borders of the index before `begins`.
Windows windows_of(const Ints& tokens, const std::vector<size_t>& begins = {}) {
  Windows windows(static_cast<int64_t>(tokens.size()));
  windows.tokens = tokens;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == kEnd) windows.borders[i] = Border::kEndToken;
  }
  for (const size_t i : begins) windows.borders[i] = Border::kIndex;
  return windows;
}

TEST(HostBatch, TargetsAreTheNextTokens) {
  const HostBatch batch = make_batch(layout(2, 3), windows_of({1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(batch.token_ids, (Ints{1, 2, 3, 5, 6, 7}));
  EXPECT_EQ(batch.targets, (Ints{2, 3, 4, 6, 7, 8}));
  EXPECT_EQ(batch.document_start, Ints(6, 0));
  EXPECT_EQ(batch.valid_targets, 6);
  EXPECT_EQ(batch.sequences, 2);
  EXPECT_EQ(batch.tokens, 3);
  EXPECT_EQ(batch.position_offset, 0);
}

TEST(HostBatch, ADocumentBeginsWithTheEndTokenOfTheOneBeforeAndItsFirstTokenIsPredicted) {
  const HostBatch batch = make_batch(layout(1, 6), windows_of({1, kEnd, 2, 3, kEnd, kEnd, 4}));
  EXPECT_EQ(batch.targets, (Ints{kEnd, 2, 3, kEnd, kEnd, 4}));
  EXPECT_EQ(batch.document_start, (Ints{0, 1, 1, 1, 4, 5}));
  EXPECT_EQ(batch.valid_targets, 6);
}

TEST(HostBatch, NothingPredictsTheFirstTokenBehindABorderOfTheIndex) {
  const HostBatch batch = make_batch(layout(2, 4), windows_of({1, 2, 3, 4, 5,  //
                                                               5, 6, 7, 8, kEnd},
                                                              {2, 4, 5}));
  EXPECT_EQ(batch.targets, (Ints{2, -1, 4, -1, 6, 7, 8, kEnd}));
  EXPECT_EQ(batch.document_start, (Ints{0, 0, 2, 2, 0, 0, 0, 0}));
  EXPECT_EQ(batch.valid_targets, 6);
}

TEST(HostBatch, AShortWindowIsPaddedWithIgnoredTargets) {
  const HostBatch batch = make_batch(layout(2, 4), windows_of({1, 2, 3, kNoToken, kNoToken,  //
                                                               kNoToken, kNoToken, kNoToken, kNoToken, kNoToken}));
  EXPECT_EQ(batch.token_ids, (Ints{1, 2, 3, 0, 0, 0, 0, 0}));
  EXPECT_EQ(batch.targets, (Ints{2, 3, -1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(batch.valid_targets, 2);
}

TEST(HostBatch, TokenOrderIsAStableSortByToken) {
  Ints windows;
  for (uint64_t i = 0; i < uint64_t{3} * 41; ++i) windows.push_back(static_cast<int32_t>(philox_bits(5, i) % 10));
  const HostBatch batch = make_batch(layout(3, 40), windows_of(windows));
  Ints want(batch.token_ids.size());
  for (size_t i = 0; i < want.size(); ++i) want[i] = static_cast<int32_t>(i);
  std::stable_sort(want.begin(), want.end(), [&](int32_t a, int32_t b) {
    return batch.token_ids[static_cast<size_t>(a)] < batch.token_ids[static_cast<size_t>(b)];
  });
  EXPECT_EQ(batch.token_order, want);
}

TEST(HostBatch, CarryIsZeroWhereADocumentStartsInsideTheSegment) {
  // Four segments of two tokens. Sequence 0: documents start at 0 and 4 (a segment's first token). Sequence 1: at 0
  // and 7, which only the index says.
  BatchLayout cut = layout(2, 8);
  cut.parts = 4;
  const Windows windows = windows_of({1, 2, 3, 4, kEnd, 5, 6, 7, 8,  //
                                      1, 2, 3, 4, 5, 6, 7, 8, 1},
                                     {9 + 7});
  for (int segment = 0; segment < 4; ++segment) {
    cut.part = segment;
    const HostBatch batch = make_batch(cut, windows);
    EXPECT_EQ(batch.carry, (std::vector<float>{0, 0, 1, 1, 0, 1, 1, 0}));  // [P, B]
    EXPECT_EQ(batch.valid_targets, 15);
    EXPECT_EQ(batch.position_offset, 2 * segment);
    EXPECT_EQ(batch.tokens, 2);
  }
  cut.part = 3;
  EXPECT_EQ(make_batch(cut, windows).document_start, (Ints{4, 4, 0, 7}));
}

TEST(HostBatch, SegmentsJoinToTheWholeSequence) {
  Ints windows;
  for (uint64_t i = 0; i < uint64_t{2} * 25; ++i) windows.push_back(static_cast<int32_t>(philox_bits(6, i) % 10));
  const HostBatch whole = make_batch(layout(2, 24), windows_of(windows));
  for (const int segments : {2, 3, 8, 24}) {
    BatchLayout cut = layout(2, 24);
    cut.parts = segments;
    for (int segment = 0; segment < segments; ++segment) {
      cut.part = segment;
      const HostBatch part = make_batch(cut, windows_of(windows));
      for (int64_t row = 0; row < 2 * part.tokens; ++row) {
        const auto from = static_cast<size_t>(row / part.tokens * 24 + part.position_offset + row % part.tokens);
        const auto at = static_cast<size_t>(row);
        ASSERT_EQ(part.token_ids[at], whole.token_ids[from]);
        ASSERT_EQ(part.targets[at], whole.targets[from]);
        ASSERT_EQ(part.document_start[at], whole.document_start[from]);
      }
      EXPECT_EQ(part.valid_targets, whole.valid_targets);
    }
  }
}

TEST(HostBatch, SegmentsInTimeAreCutOverTheRanksAndFilledUp) {
  Ints windows;
  for (uint64_t i = 0; i < uint64_t{2} * 23; ++i) windows.push_back(static_cast<int32_t>(philox_bits(6, i) % 10));
  const HostBatch whole = make_batch(layout(2, 22), windows_of(windows));
  for (const int64_t segment_tokens : {6, 12, 22, 36}) {
    for (int rank = 0; rank < 2; ++rank) {
      SCOPED_TRACE(concat("segments of ", segment_tokens, ", rank ", rank));
      BatchLayout cut = layout(2, 22);
      cut.segment_tokens = segment_tokens;
      cut.parts = 2;
      cut.part = rank;
      const HostBatch batch = make_batch(cut, windows_of(windows));
      ASSERT_EQ(batch.segments, (22 + segment_tokens - 1) / segment_tokens);
      ASSERT_EQ(batch.tokens, segment_tokens / 2);
      EXPECT_EQ(batch.valid_targets, whole.valid_targets);
      ASSERT_EQ(std::ssize(batch.carry), batch.segments * 2 * 2);
      for (int64_t s = 0; s < batch.segments; ++s) {
        const int64_t rows = 2 * batch.tokens;
        std::vector<bool> ordered(static_cast<size_t>(rows));
        for (int64_t row = 0; row < rows; ++row) {
          const auto at = static_cast<size_t>(s * rows + row);
          const int64_t t = batch.position_offset + s * segment_tokens + row % batch.tokens;
          const auto from = static_cast<size_t>(row / batch.tokens * 22 + t);
          ASSERT_EQ(batch.token_ids[at], t < 22 ? whole.token_ids[from] : 0);
          ASSERT_EQ(batch.targets[at], t < 22 ? whole.targets[from] : kNoToken);
          if (t < 22) {
            ASSERT_EQ(batch.document_start[at], whole.document_start[from]);
          }
          ordered[static_cast<size_t>(batch.token_order[at])] = true;
          if (row == 0) continue;
          const auto token = [&](size_t i) {
            return batch.token_ids[static_cast<size_t>(s * rows + batch.token_order[i])];
          };
          EXPECT_LE(token(at - 1), token(at));
        }
        EXPECT_TRUE(std::all_of(ordered.begin(), ordered.end(), [](bool each) { return each; }));
      }
    }
  }
}

}  // namespace
}  // namespace retain
