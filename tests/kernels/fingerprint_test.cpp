// Fingerprints beside the formula of their contract, computed plainly.
#include <bit>
#include <cstring>
#include <set>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Fingerprint : public BackendTest {
 protected:
  /// What `x` adds to a sum.
  uint64_t of(const TensorView& x, uint64_t key, int64_t first_index, int64_t row_step, uint64_t before = 0) {
    const DeviceTensor out(backend(), DType::kInt32, {2});
    backend().upload(out, &before);
    backend().fingerprint({.x = x, .out = out, .key = key, .first_index = first_index, .row_step = row_step});
    uint64_t sum = 0;
    backend().download(&sum, out);
    return sum;
  }

  /// The bits of every element, as the backend holds it.
  std::vector<uint64_t> bits(const TensorView& x) {
    std::vector<unsigned char> bytes(static_cast<size_t>(x.bytes()));
    backend().download(bytes.data(), x);
    const auto width = static_cast<size_t>(dtype_bytes(x.dtype));
    std::vector<uint64_t> bits(bytes.size() / width);
    for (size_t i = 0; i < bits.size(); ++i) std::memcpy(&bits[i], &bytes[i * width], width);
    return bits;
  }
};

/// The formula, from its contract.
uint64_t plain_mix(uint64_t key, uint64_t index, uint64_t bits) {
  uint64_t z = key + index * 0x9e3779b97f4a7c15U;
  z ^= bits;
  z ^= z >> 32U;
  z *= 0xd6e8feb86659fd93U;
  return z ^ (z >> 29U);
}

TEST_P(Fingerprint, IsTheSumOfMixedElements) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {1, 100003}, {37, 8}, {60, 63}, {1000, 65}}) {
    for (const int64_t row_step : {columns, columns + 11}) {
      SCOPED_TRACE(concat(rows, "x", columns, " of rows of ", row_step));
      const DeviceTensor x = activation({rows, columns}, random_values(rows * columns, 1));
      const std::vector<uint64_t> elements = bits(x);
      uint64_t want = 5;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
          const auto index = static_cast<uint64_t>(1234567 + r * row_step + c);
          want += plain_mix(77, index, elements[static_cast<size_t>(r * columns + c)]);
        }
      }
      EXPECT_EQ(of(x, 77, 1234567, row_step, 5), want);
    }
  }
}

TEST_P(Fingerprint, IsThatOfThePartsHoweverATensorIsCut) {
  constexpr int64_t kRows = 40, kColumns = 24;
  const Values values = random_values(kRows * kColumns, 3);
  const uint64_t whole = of(activation({kRows, kColumns}, values), 9, 0, kColumns);
  for (const int64_t cut : {1, 7, 23}) {
    Values left, right;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kColumns; ++c)
        (c < cut ? left : right).push_back(values[static_cast<size_t>(r * kColumns + c)]);
    }
    const uint64_t sum = of(activation({kRows, cut}, left), 9, 0, kColumns);
    EXPECT_EQ(of(activation({kRows, kColumns - cut}, right), 9, cut, kColumns, sum), whole) << "columns before " << cut;
  }
  const DeviceTensor flat = activation({1, kRows * kColumns}, values);
  const uint64_t odd = of(flat.view().slice(1, 0, 101), 9, 0, 0);  // the rest does not begin where a vector does
  EXPECT_EQ(of(flat.view().slice(1, 101, kRows * kColumns - 101), 9, 101, 0, odd), whole);
}

TEST_P(Fingerprint, ShowsEveryBitOfEveryElement) {
  const DeviceTensor x = activation({1, 19}, random_values(19, 4));
  const int64_t width = dtype_bytes(x.view().dtype);
  std::vector<unsigned char> bytes(static_cast<size_t>(x.view().bytes()));
  backend().download(bytes.data(), x);
  std::set<uint64_t> seen = {of(x, 1, 0, 0)};
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<unsigned char>(1U << bit % 8);
    backend().upload(x, bytes.data());
    EXPECT_TRUE(seen.insert(of(x, 1, 0, 0)).second) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<unsigned char>(1U << bit % 8);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(19 * width * 8 + 1));
}

TEST_P(Fingerprint, TellsKeysPlacesAndNotNumbersApart) {
  const double nan = std::nan("");
  const DeviceTensor x = activation({1, 3}, {1, 2, 3}), swapped = activation({1, 3}, {2, 1, 3});
  const DeviceTensor zero = activation({1, 2}, {0, 0}), minus = activation({1, 2}, {0, -0.0}),
                     no = activation({1, 2}, {0, nan});
  std::set<uint64_t> seen = {of(x, 1, 0, 0), of(x, 2, 0, 0), of(x, 1, 1, 0), of(swapped, 1, 0, 0)};
  for (const DeviceTensor* other : {&zero, &minus, &no}) seen.insert(of(*other, 1, 0, 0));
  EXPECT_EQ(seen.size(), 7U);
}

TEST_P(Fingerprint, DoesNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "about the CPU";
  const DeviceTensor x = activation({301, 1001}, random_values(301 * 1001, 1));
  uint64_t one = 0, three = 0;
  make_cpu_backend(1)->fingerprint({.x = x, .out = {&one, DType::kInt32, {2}}, .row_step = 1001});
  make_cpu_backend(3)->fingerprint({.x = x, .out = {&three, DType::kInt32, {2}}, .row_step = 1001});
  EXPECT_EQ(one, three);
}

INSTANTIATE_TEST_SUITE_P(Backends, Fingerprint, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
