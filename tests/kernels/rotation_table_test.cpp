#include <array>
#include <cstdint>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

class RotationTable : public BackendTest {
 protected:
  /// K/2 frequencies of rope.
  static Values frequencies(int64_t pairs) {
    Values theta;
    for (int64_t j = 0; j < pairs; ++j)
      theta.push_back(std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(pairs)));
    return theta;
  }
  static Values oracle(const Values& theta, int64_t offset, int64_t tokens) {
    Values table;
    for (int64_t t = 0; t < tokens; ++t) {
      for (const double frequency : theta) {
        const double angle = static_cast<double>(offset + t) * frequency;
        table.insert(table.end(), {std::cos(angle), std::sin(angle)});
      }
    }
    return table;
  }
};

// Each element on its own, because those of slow angles would hide those of fast ones in a norm.
TEST_P(RotationTable, IsExactWhereverTheSegmentBegins) {
  const double rounding = float64() ? 4e-16 : 6e-8;  // two units in the last place of float64, half of one of float32
  constexpr std::array<int64_t, 5> kOffsets = {0, 1, 65'535, (int64_t{1} << 31) + 12'345, (int64_t{1} << 40) - 3};
  for (const int64_t pairs : {1, 3, 32, 128}) {
    const Values theta = frequencies(pairs);
    const DeviceTensor frequencies = doubles({pairs}, theta);
    for (const int64_t tokens : {1, 63, 300}) {
      for (const int64_t offset : kOffsets) {
        const DeviceTensor table = accumulator({tokens, pairs, 2});
        backend().rotation_table({.theta = frequencies, .table = table, .offset = offset});
        const Values got = table.values(), want = oracle(theta, offset, tokens);
        for (size_t i = 0; i < want.size(); ++i)
          ASSERT_NEAR(got[i], want[i], rounding) << pairs << " pairs from " << offset << ", element " << i;
      }
    }
  }
}

TEST_P(RotationTable, RowsMayHavePositionsOfTheirOwn) {
  const Values theta = frequencies(128), positions = {7, 0, 2'000'000'011, 1'048'576, 3};
  const DeviceTensor table = accumulator({5, 128, 2});
  backend().rotation_table(
      {.theta = doubles({128}, theta), .table = table, .positions = integers({5}, positions), .offset = 99});
  Values want;
  for (const double position : positions) {
    const Values row = oracle(theta, static_cast<int64_t>(position), 1);
    want.insert(want.end(), row.begin(), row.end());
  }
  const Values got = table.values();
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], float64() ? 4e-16 : 6e-8) << i;
}

TEST_P(RotationTable, RefusesWhatItsContractDoesNotSay) {
  const DeviceTensor theta = doubles({4}, frequencies(4)), table = accumulator({10, 4, 2});
  const auto refused = [&](const RotationTableArgs& args) { EXPECT_THROW(backend().rotation_table(args), Error); };
  refused({.theta = theta, .table = table, .offset = -1});
  refused({.theta = theta, .table = table, .offset = int64_t{1} << 53});
  refused({.theta = theta.view().slice(0, 0, 3), .table = table});
  refused({.theta = accumulator({4, 1, 2}), .table = table});
  refused({.theta = theta, .table = table.view().slice(1, 0, 3)});
}

INSTANTIATE_TEST_SUITE_P(Backends, RotationTable, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
