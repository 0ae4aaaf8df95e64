#include "tests/support/backends.h"

namespace retain::test {
namespace {

void expect_block(const Philox4& got, std::initializer_list<uint32_t> want) {
  int i = 0;
  for (const uint32_t word : want) EXPECT_EQ(got.x[i++], word);
}

// The known answers published with Random123 for philox4x32 with 10 rounds (words of counter and key from low to high).
TEST(Philox, MatchesThePublishedVectors) {
  expect_block(philox4x32(0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect_block(philox4x32(~0ULL, ~0ULL, ~0ULL), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_block(philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Philox, NormalNumbersHaveTheMomentsOfTheNormalDistribution) {
  constexpr int kCount = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = philox_normal(42, static_cast<uint64_t>(i));
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);  // 4.5 standard errors
  EXPECT_NEAR(squares / kCount, 1, 0.015);
  EXPECT_NEAR(fourth / kCount, 3, 0.1);
}

TEST(StreamKey, DependsOnSeedAndName) {
  EXPECT_EQ(stream_key(1, "layers.0.wq"), stream_key(1, "layers.0.wq"));
  EXPECT_NE(stream_key(1, "layers.0.wq"), stream_key(2, "layers.0.wq"));
  EXPECT_NE(stream_key(1, "layers.0.wq"), stream_key(1, "layers.0.wk"));
}

class FillNormal : public BackendTest {};

TEST_P(FillNormal, AShardIsThatPartOfTheWhole) {
  constexpr int64_t kRows = 37, kColumns = 53;
  const DeviceTensor whole = accumulator({kRows, kColumns}), shard = accumulator({10, 21});
  backend().fill_normal({.x = whole, .key = 7, .std = 0.02, .global_columns = kColumns});
  backend().fill_normal(
      {.x = shard, .key = 7, .std = 0.02, .global_columns = kColumns, .first_row = 20, .first_column = 30});
  EXPECT_EQ(shard.values(), read(backend(), whole.view().slice(0, 20, 10).slice(1, 30, 21)));
}

TEST_P(FillNormal, DrawsTheNumbersOfThePhiloxStream) {
  const DeviceTensor x = accumulator({3, 5});
  backend().fill_normal({.x = x, .key = 99, .std = 2, .global_columns = 1000, .first_row = 4, .first_column = 7});
  Values want;
  for (int64_t r = 4; r < 7; ++r) {
    for (int64_t c = 7; c < 12; ++c) want.push_back(2 * philox_normal(99, static_cast<uint64_t>(r * 1000 + c)));
  }
  expect_close("x", x.values(), want, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Backends, FillNormal, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
