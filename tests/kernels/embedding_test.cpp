#include <algorithm>
#include <numeric>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

constexpr int64_t kTokens = 257, kVocab = 50, kFirstRow = 10, kRows = 30;  // the rank has rows 10 to 39
constexpr double kScale = 3;

class Embedding : public BackendTest {};

TEST_P(Embedding, LooksUpItsRowsAndLeavesZerosForOthers) {
  for (const int64_t d : {1, 60, 130}) {
    const Values tokens = random_integers(kTokens, 1, 0, kVocab);
    const DeviceTensor token = integers({kTokens}, tokens), x = activation({kTokens, d});
    const DeviceTensor weight = activation({kRows, d}, random_values(kRows * d, 2));
    backend().embedding({.tokens = token, .weight = weight, .x = x, .first_row = kFirstRow, .scale = kScale});
    const Values rows = weight.values();
    Values want(kTokens * d, 0.0);
    for (int64_t i = 0; i < kTokens; ++i) {
      const int64_t row = static_cast<int64_t>(tokens[i]) - kFirstRow;
      for (int64_t j = 0; j < d && row >= 0 && row < kRows; ++j) want[i * d + j] = kScale * rows[row * d + j];
    }
    expect_close("x", x.values(), want);
  }
}

TEST_P(Embedding, TokensMayBeThoseThatWereDrawn) {
  constexpr int64_t kWidth = 60;
  const DeviceTensor tokens = integers({5}, {-1, 11, -1, -1, 10});
  const DeviceTensor drawn = integers({4}, {12, 49, -1, 39}), places = integers({5}, {3, -1, 0, 2, 1});
  const DeviceTensor weight = activation({kRows, kWidth}, random_values(kRows * kWidth, 2)),
                     x = activation({5, kWidth});
  backend().embedding(
      {.tokens = tokens, .weight = weight, .x = x, .drawn = drawn, .places = places, .first_row = kFirstRow});
  const Values rows = weight.values();
  Values want;
  for (const int64_t row : {29, 1, 2, -1, 0}) {
    for (int64_t j = 0; j < kWidth; ++j) want.push_back(row < 0 ? 0 : rows[row * kWidth + j]);
  }
  EXPECT_EQ(x.values(), want);
}

TEST_P(Embedding, BackwardAddsTheRowsOfEachToken) {
  constexpr int64_t kTokens = 1000;
  for (const int64_t d : {1, 60, 130, 128}) {
    Values tokens = random_integers(kTokens, 1, 0, kVocab), order(kTokens);
    std::fill_n(tokens.begin() + 40, 90, 13.0);  // some tokens much more often than the others
    std::fill_n(tokens.begin() + 500, 400, 20.0);
    std::iota(order.begin(), order.end(), 0.0);
    std::stable_sort(order.begin(), order.end(), [&](double a, double b) {
      return tokens[static_cast<size_t>(a)] < tokens[static_cast<size_t>(b)];
    });
    const DeviceTensor token = integers({kTokens}, tokens), token_order = integers({kTokens}, order);
    const DeviceTensor dx = activation({kTokens, d}, random_values(kTokens * d, 2));
    const DeviceTensor dweight = accumulator({kRows, d}, random_values(kRows * d, 3));
    Values want = dweight.values();
    const Values gradient = dx.values();
    for (int64_t i = 0; i < kTokens; ++i) {
      const int64_t row = static_cast<int64_t>(tokens[i]) - kFirstRow;
      for (int64_t j = 0; j < d && row >= 0 && row < kRows; ++j) want[row * d + j] += kScale * gradient[i * d + j];
    }
    backend().embedding_backward({.tokens = token,
                                  .token_order = token_order,
                                  .dx = dx,
                                  .dweight = dweight,
                                  .first_row = kFirstRow,
                                  .scale = kScale});
    expect_close("dweight", dweight.values(), want);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Embedding, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
