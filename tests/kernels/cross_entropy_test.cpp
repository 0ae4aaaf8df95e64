#include "tests/kernels/finite_difference.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

struct Loss {
  Values loss, dlogits;
};

/// logits [n, vocab] without padding.
Loss loss_oracle(const Values& logits, const Values& targets, double scale) {
  const size_t vocab = logits.size() / targets.size();
  Loss out{Values(targets.size()), Values(logits.size())};
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    const double* z = &logits[i * vocab];
    double max = z[0], sum = 0;
    for (size_t j = 0; j < vocab; ++j) max = std::max(max, z[j]);
    for (size_t j = 0; j < vocab; ++j) sum += std::exp(z[j] - max);
    const auto target = static_cast<size_t>(targets[i]);
    out.loss[i] = max + std::log(sum) - z[target];
    for (size_t j = 0; j < vocab; ++j) {
      out.dlogits[i * vocab + j] = scale * (std::exp(z[j] - max) / sum - (j == target ? 1 : 0));
    }
  }
  return out;
}

Values columns(const Values& matrix, int64_t width, int64_t begin, int64_t count) {
  Values out;
  for (size_t row = 0; row < matrix.size() / width; ++row) {
    const auto first = matrix.begin() + static_cast<int64_t>(row) * width + begin;
    out.insert(out.end(), first, first + count);
  }
  return out;
}

class CrossEntropy : public BackendTest {
 protected:
  static constexpr int64_t kPadding = 6;
  static constexpr double kScale = 0.25;
  DeviceTensor scalar(double value) { return doubles({1}, {value}); }

  static Values some_targets(int64_t n, int64_t vocab) {
    Values targets = random_integers(n, 9, 0, vocab);
    for (size_t i = 3; i < targets.size(); i += 7) targets[i] = -1;
    return targets;
  }
};

TEST_P(CrossEntropy, LossAndGradientOfTheWholeVocabulary) {
  for (const auto& [n, vocab] :
       {std::pair<int64_t, int64_t>{1, 10}, {63, 10}, {100, 128}, {17, 1018}, {17, 5003}, {17, 5010}}) {
    for (const bool gradient : {true, false}) {
      SCOPED_TRACE(concat(n, "x", vocab, gradient ? "" : ", loss alone"));
      const DeviceTensor matrix = activation({n, vocab + kPadding});  // the padding holds NaN
      write(backend(), matrix.view().slice(1, 0, vocab), random_values(n * vocab, 1, 4));
      const Values logits = read(backend(), matrix.view().slice(1, 0, vocab)), targets = some_targets(n, vocab);
      const DeviceTensor target = integers({n}, targets), loss = accumulator({n});
      backend().cross_entropy({.logits = matrix,
                               .targets = target,
                               .loss = loss,
                               .valid = vocab,
                               .scale = scalar(kScale),
                               .gradient = gradient});
      const Loss want = loss_oracle(logits, targets, kScale);
      expect_close("loss", loss.values(), want.loss);
      const Values got = read(backend(), matrix.view().slice(1, 0, vocab));
      if (gradient) {
        expect_close("dlogits", got, want.dlogits);
        EXPECT_EQ(read(backend(), matrix.view().slice(1, vocab, kPadding)), Values(n * kPadding, 0.0));
      } else {
        EXPECT_EQ(got, logits) << "logits stay";
      }
    }
  }
}

TEST_P(CrossEntropy, ColumnsSharedOutGiveTheSameLoss) {
  constexpr int64_t n = 63, vocab = 130, ranks = 4, per_rank = 40;  // the last rank has 10 columns
  const Values logits = rounded(compute(), random_values(n * vocab, 1, 4)), targets = some_targets(n, vocab);
  const DeviceTensor target = integers({n}, targets);
  const Loss want = loss_oracle(logits, targets, kScale);
  const auto valid_of = [&](int64_t rank) { return std::min(per_rank, vocab - rank * per_rank); };
  std::vector<DeviceTensor> parts;
  Values all;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    parts.push_back(activation({n, per_rank}));
    write(backend(), parts[rank].view().slice(1, 0, valid_of(rank)),
          columns(logits, vocab, rank * per_rank, valid_of(rank)));
    const DeviceTensor statistics = accumulator({n, 3});
    backend().cross_entropy_statistics({.logits = parts[rank],
                                        .targets = target,
                                        .statistics = statistics,
                                        .first_column = rank * per_rank,
                                        .valid = valid_of(rank)});
    const Values values = statistics.values();
    all.insert(all.end(), values.begin(), values.end());
  }
  const DeviceTensor gathered = accumulator({ranks, n, 3}, all);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    SCOPED_TRACE(concat("rank ", rank));
    const DeviceTensor loss = accumulator({n});
    backend().cross_entropy({.logits = parts[rank],
                             .targets = target,
                             .gathered = gathered,
                             .loss = loss,
                             .first_column = rank * per_rank,
                             .valid = valid_of(rank),
                             .scale = scalar(kScale)});
    expect_close("loss", loss.values(), want.loss);
    expect_close("dlogits", read(backend(), parts[rank].view().slice(1, 0, valid_of(rank))),
                 columns(want.dlogits, vocab, rank * per_rank, valid_of(rank)));
  }
}

TEST_P(CrossEntropy, ARankOfPaddingAloneChangesNothing) {
  constexpr int64_t n = 5, vocab = 10;
  const Values logits = rounded(compute(), random_values(n * vocab, 1)), targets = {0, 9, -1, 3, 3};
  const DeviceTensor target = integers({n}, targets);
  const DeviceTensor real = activation({n, vocab}, logits), padding = activation({n, vocab});
  const DeviceTensor first = accumulator({n, 3}), second = accumulator({n, 3}), loss = accumulator({n});
  backend().cross_entropy_statistics({.logits = real, .targets = target, .statistics = first, .valid = vocab});
  backend().cross_entropy_statistics(
      {.logits = padding, .targets = target, .statistics = second, .first_column = vocab, .valid = 0});
  Values all = first.values();
  const Values more = second.values();
  all.insert(all.end(), more.begin(), more.end());
  const DeviceTensor gathered = accumulator({2, n, 3}, all);
  backend().cross_entropy(
      {.logits = real, .targets = target, .gathered = gathered, .loss = loss, .valid = vocab, .scale = scalar(kScale)});
  expect_close("loss", loss.values(), loss_oracle(logits, targets, kScale).loss);
  expect_close("dlogits", real.values(), loss_oracle(logits, targets, kScale).dlogits);
  backend().cross_entropy({.logits = padding,
                           .targets = target,
                           .gathered = gathered,
                           .loss = loss,
                           .first_column = vocab,
                           .valid = 0,
                           .scale = scalar(kScale)});
  expect_close("loss", loss.values(), loss_oracle(logits, targets, kScale).loss);
  EXPECT_EQ(padding.values(), Values(n * vocab, 0.0));
}

TEST_P(CrossEntropy, HugeLogitsOverflowNothing) {
  const DeviceTensor logits = activation({2, 3}, {30000, -30000, 0, -30000, -30000, -30000});
  const DeviceTensor target = integers({2}, {0, 2}), loss = accumulator({2});
  backend().cross_entropy({.logits = logits, .targets = target, .loss = loss, .valid = 3});
  const Values got = loss.values();
  EXPECT_EQ(got[0], 0);
  EXPECT_NEAR(got[1], std::log(3.0), 3e-3);
  expect_close("dlogits", logits.values(), {0, 0, 0, 1.0 / 3, 1.0 / 3, -2.0 / 3});
}

TEST_P(CrossEntropy, NotANumberShowsInTheLoss) {
  const DeviceTensor logits = activation({1, 3}, {1, std::nan(""), 0});
  const DeviceTensor target = integers({1}, {0}), loss = accumulator({1});
  backend().cross_entropy({.logits = logits, .targets = target, .loss = loss, .valid = 3});
  EXPECT_TRUE(std::isnan(loss.values()[0]));
}

TEST_P(CrossEntropy, GradientIsTheSlopeOfTheLoss) {
  if (!float64()) GTEST_SKIP() << "finite differences need float64";
  Values logits = random_values(4 * 5, 1);
  const Values targets = {0, 4, -1, 2};
  const DeviceTensor x = activation({4, 5}, logits), loss = accumulator({4});
  backend().cross_entropy({.logits = x, .targets = integers({4}, targets), .loss = loss, .valid = 5});
  expect_close("dlogits", x.values(),
               finite_difference(logits, [&] { return dot(loss_oracle(logits, targets, 1).loss, Values(4, 1.0)); }),
               1e-8);
}

INSTANTIATE_TEST_SUITE_P(Backends, CrossEntropy, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
