#include "trainer/data/shown_samples.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "tests/trainer/data/token_files.h"

namespace retain {
namespace {

constexpr int64_t kSeqLen = 12, kMicroBatches = 8, kSequences = 2;
constexpr int32_t kEnd = 256;

/// Documents of up to 30 tokens, every third of which nothing but the index ends.
void write_documents(const std::string& prefix, uint64_t key, int64_t tokens) {
  TokenWriter writer(prefix, 257);
  for (uint64_t counter = 0; writer.tokens() < tokens;) {
    std::vector<int32_t> document(1 + philox_bits(key, counter++) % 30);
    for (int32_t& token : document) token = static_cast<int32_t>(philox_bits(key, counter++) % 256);
    if (counter % 3 != 0) document.push_back(kEnd);
    writer.append(document);
    writer.end_document();
  }
  writer.finish();
}

class ShownSamples : public testing::Test {
 protected:
  ShownSamples() {
    write_documents(folder_.file("a"), 1, 3000);
    write_documents(folder_.file("b"), 2, 1000);
    data_.train = {{folder_.file("a"), 2}, {folder_.file("b"), 1}};
    data_.seq_len = kSeqLen;
    data_.end_of_document = kEnd;
    train_.micro_batch_tokens = kSequences * kSeqLen;
    train_.batch_tokens = kMicroBatches * train_.micro_batch_tokens;
  }
  TrainLoader loader(const MeshShape& shape = {}, int rank = 0, int64_t segment_tokens = 0) const {
    return TrainLoader(data_, train_, 257, 7, shape, coordinate_of(shape, rank), segment_tokens);
  }
  const TestFolder folder_;
  DataConfig data_;
  TrainConfig train_;
};

// Windows, targets and resets worked out here, from the files alone.
TEST_F(ShownSamples, AreTheWindowsOfTheirSets) {
  TrainLoader one = loader();
  int64_t resets_inside = 0, masked = 0;
  for (int64_t micro = 0; micro < kMicroBatches; ++micro) {
    const std::vector<ShownSample> samples = show_samples(one, 1600, micro);
    ASSERT_EQ(samples.size(), kSequences);
    for (int64_t b = 0; b < kSequences; ++b) {
      const ShownSample& shown = samples[static_cast<size_t>(b)];
      EXPECT_EQ(shown.number, 1600 + micro * kSequences + b);
      const TokenSet set(data_.train[static_cast<size_t>(shown.place.source)].path);
      std::vector<int32_t> window(kSeqLen + 1);
      set.read(shown.place.window * kSeqLen, window);
      const std::vector<int64_t> begins =
          set.document_begins(shown.place.window * kSeqLen + 1, (shown.place.window + 1) * kSeqLen + 1);
      const auto index_begins = [&](int64_t position) {
        const bool begins_here = std::count(begins.begin(), begins.end(), shown.place.window * kSeqLen + position) > 0;
        return begins_here && window[static_cast<size_t>(position - 1)] != kEnd;
      };
      ASSERT_EQ(shown.tokens.size(), kSeqLen);
      for (int64_t t = 0; t < kSeqLen; ++t) {
        const ShownToken& token = shown.tokens[static_cast<size_t>(t)];
        const int32_t here = window[static_cast<size_t>(t)];
        EXPECT_EQ(token.position, t);
        EXPECT_EQ(token.token, here);
        EXPECT_EQ(token.reset, t == 0 || here == kEnd || index_begins(t));
        EXPECT_EQ(token.target, index_begins(t + 1) ? kNoToken : window[static_cast<size_t>(t + 1)]);
        resets_inside += t > 0 && token.reset ? 1 : 0;
        masked += token.target == kNoToken ? 1 : 0;
      }
    }
  }
  EXPECT_GT(resets_inside, 3);
  EXPECT_GT(masked, 0);
}

TEST_F(ShownSamples, OfAllRanksAreThoseOfOne) {
  TrainLoader one = loader();
  std::map<int64_t, std::vector<ShownToken>> want;
  for (int64_t micro = 0; micro < kMicroBatches; ++micro)
    for (const ShownSample& sample : show_samples(one, 32, micro)) want[sample.number] = sample.tokens;
  for (const MeshShape& shape : {MeshShape{2, 1, 1}, {3, 1, 2}, {8, 1, 1}, {2, 2, 2}, {1, 3, 1}}) {
    for (const int64_t segment_tokens : {int64_t{0}, int64_t{6}}) {
      std::map<int64_t, std::map<int64_t, ShownToken>> all;
      for (int rank = 0; rank < shape.ranks(); ++rank) {
        TrainLoader its = loader(shape, rank, segment_tokens);
        for (int64_t micro = 0; micro < its.micro_batches(); ++micro) {
          for (const ShownSample& sample : show_samples(its, 32, micro)) {
            EXPECT_EQ(sample.tokens.size(), kSeqLen / shape.cp);
            for (const ShownToken& token : sample.tokens) all[sample.number][token.position] = token;
          }
        }
      }
      ASSERT_EQ(all.size(), want.size());
      for (const auto& [number, tokens] : all) {
        std::vector<ShownToken> whole;
        for (const auto& [position, token] : tokens) whole.push_back(token);
        EXPECT_EQ(whole, want[number]) << shape.describe() << " sample " << number;
      }
    }
  }
}

/// The places of samples [first, first + 1,000) as the batches of these ranks have them.
std::vector<std::array<int64_t, 4>> thousand_places(const std::vector<TrainLoader*>& ranks, int64_t first) {
  std::map<int64_t, std::array<int64_t, 4>> places;
  for (int64_t at = first; at < first + 1000; at += ranks.front()->samples()) {
    for (TrainLoader* const loader : ranks) {
      for (int64_t micro = 0; micro < loader->micro_batches(); ++micro) {
        for (const ShownSample& sample : show_samples(*loader, at, micro))
          places[sample.number] = {sample.number, sample.place.source, sample.place.window, sample.tokens[0].token};
      }
    }
  }
  std::vector<std::array<int64_t, 4>> all;
  for (const auto& [number, place] : places) {
    if (number < first + 1000) all.push_back(place);
  }
  return all;
}

TEST_F(ShownSamples, AThousandAreTheSameOnOneTwoFourAndEightRanksAndFromAnyStepOn) {
  TrainLoader one = loader();
  const auto want = thousand_places({&one}, 0);
  ASSERT_EQ(want.size(), 1000);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(want[i][0], static_cast<int64_t>(i));
  for (const MeshShape& shape : {MeshShape{2, 1, 1}, {4, 1, 1}, {2, 1, 2}, {8, 1, 1}, {4, 2, 1}}) {
    std::vector<std::unique_ptr<TrainLoader>> owned;
    std::vector<TrainLoader*> firsts;  // of cp, which have the first token of each sample
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      const MeshCoordinate at = coordinate_of(shape, rank);
      if (at.cp > 0 || at.tp > 0) continue;
      owned.push_back(std::make_unique<TrainLoader>(data_, train_, 257, 7, shape, at));
      firsts.push_back(owned.back().get());
    }
    EXPECT_EQ(thousand_places(firsts, 0), want) << shape.describe();
  }
  for (int64_t step = 1; step < 1000 / one.samples(); ++step) {  // a resume there
    TrainLoader again = loader();
    const auto [micro, first] = std::pair(step % kMicroBatches, step * one.samples());
    const ShownSample shown = show_samples(again, first, micro).front();
    const auto& expected = want[static_cast<size_t>(first + micro * kSequences)];
    EXPECT_EQ((std::array<int64_t, 4>{shown.number, shown.place.source, shown.place.window, shown.tokens[0].token}),
              expected);
  }
}

}  // namespace
}  // namespace retain
