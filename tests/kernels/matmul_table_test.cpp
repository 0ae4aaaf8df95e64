// The table of measured products as text: what was written is read, and nothing else is.
#include "kernels/cuda/matmul_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retain::test {
namespace {

using cuda::MatmulTable;
using cuda::read_table;
using cuda::write_table;
using testing::HasSubstr;

const char* const kOrigin = "retain matmul plans 2; m n k; cublasLt 130100; NVIDIA H200";

MatmulTable small_table() {
  return {{{-1, 2048, 96}, {1, 2, 3, 4, 5, 6, 7, ~uint64_t{0}}}, {{0, 5, 7}, {9, 0, 0, 0, 0, 0, 0, 1}}};
}

TEST(MatmulTable, WhatIsWrittenIsRead) {
  const auto reading = read_table(write_table(kOrigin, small_table()), kOrigin, 3);
  EXPECT_EQ(reading.refusal, "");
  EXPECT_EQ(reading.table, small_table());
  EXPECT_TRUE(read_table(write_table(kOrigin, {}), kOrigin, 3).table.empty());
}

TEST(MatmulTable, OfAnotherOriginIsNotRead) {
  const std::string text = write_table("retain matmul plans 1, cublasLt 130100, NVIDIA H200", small_table());
  const auto reading = read_table(text, kOrigin, 3);
  EXPECT_TRUE(reading.table.empty());
  EXPECT_THAT(reading.refusal, HasSubstr("plans 1,"));
  EXPECT_THAT(reading.refusal, HasSubstr(kOrigin));
  EXPECT_NE(read_table("", kOrigin, 3).refusal, "");
}

TEST(MatmulTable, IsNotReadInPartWhenALineIsDamaged) {
  const std::string text = write_table(kOrigin, small_table());
  const auto refused = [](const std::string& damaged, size_t fields = 3) {
    const auto reading = read_table(damaged, kOrigin, fields);
    return reading.table.empty() && reading.refusal.find("damaged line") != std::string::npos;
  };
  EXPECT_TRUE(refused(text.substr(0, text.size() - 20)));  // cut off in the last line
  EXPECT_TRUE(refused(text + "1 2 3 : 4\n"));
  EXPECT_TRUE(refused(text + "1 2 3 4 5 6 7 8 9 10 11\n"));
  EXPECT_TRUE(refused(text, 2)) << "a key of another length";
  EXPECT_TRUE(refused(text, 4));
  EXPECT_TRUE(refused(text.substr(0, text.size() - 1) + " 5\n")) << "too many words";
}

}  // namespace
}  // namespace retain::test
