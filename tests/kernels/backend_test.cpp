// Memory, copies and fills.
#include <limits>

#include "kernels/workspace.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Memory : public BackendTest {};

TEST_P(Memory, CopyConvertsBetweenFloatingTypes) {
  const Values values = {0, 1, -2.5, 1.0 / 3, 1e-3, 3.0e38, -1e-40, 1.00390625, 1.01171875};
  const int64_t n = static_cast<int64_t>(values.size());
  const std::vector<DType> types = float64() ? std::vector{DType::kFloat64, DType::kFloat32, DType::kBfloat16}
                                             : std::vector{DType::kFloat32, DType::kBfloat16};
  for (const DType from : types) {
    for (const DType to : types) {
      SCOPED_TRACE(concat(dtype_name(from), " to ", dtype_name(to)));
      const DeviceTensor src(backend(), from, {n}, values), dst(backend(), to, {n});
      backend().copy(dst, src);
      EXPECT_EQ(dst.values(), rounded(to, src.values()));
    }
  }
}

TEST_P(Memory, BfloatRoundsToNearestEvenOnce) {
  if (!float64()) GTEST_SKIP() << "about float64 to bfloat16";
  // Just above the midpoint of two neighbours: through float32 it would become the midpoint and round down.
  const DeviceTensor src(backend(), DType::kFloat64, {2}, {1.00390625 + 1e-12, 1.00390625 - 1e-12});
  const DeviceTensor dst(backend(), DType::kBfloat16, {2});
  backend().copy(dst, src);
  EXPECT_EQ(dst.values(), (Values{1.0078125, 1}));
}

TEST_P(Memory, CopyFollowsStrides) {
  const DeviceTensor src = activation({3, 4, 10}, random_values(120, 1)), dst = activation({3, 4, 10});
  const TensorView from = src.view().slice(2, 2, 5).slice(1, 1, 2), to = dst.view().slice(2, 4, 5).slice(1, 0, 2);
  backend().copy(to, from);
  EXPECT_EQ(read(backend(), to), read(backend(), from));
  EXPECT_TRUE(std::isnan(read(backend(), dst.view().slice(1, 2, 2))[0])) << "wrote outside the view";
}

TEST_P(Memory, CopyKeepsIntegers) {
  const Values values = {0, -1, 2147483647, 7};
  const DeviceTensor src = integers({4}, values), dst = integers({4}, {1, 1, 1, 1});
  backend().copy(dst, src);
  EXPECT_EQ(dst.values(), values);
}

TEST_P(Memory, FillReachesStridedElementsAndNoOthers) {
  const DeviceTensor x = activation({5, 7}, Values(35, 1.0));
  backend().fill(x.view().slice(1, 2, 3), -2.5);
  double sum = 0;
  for (const double v : x.values()) sum += v;
  EXPECT_EQ(sum, 20 - 15 * 2.5);
  const DeviceTensor tokens = integers({3}, {1, 2, 3});
  backend().fill(tokens, 9);
  EXPECT_EQ(tokens.values(), (Values{9, 9, 9}));
}

TEST_P(Memory, IsAlignedForVectorLoads) {
  const Buffer small(backend(), 1), large(backend(), 1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small.data()) % kAlignmentBytes, 0U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(large.data()) % kAlignmentBytes, 0U);
}

TEST_P(Memory, AskingForTooMuchIsAnErrorThatSaysHowMuch) {
  try {
    const Buffer buffer(backend(), int64_t{1} << 60);
    FAIL() << "got an exabyte";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos) << error.what();
  }
}

TEST_P(Memory, SaysWhatItIs) {
  EXPECT_STREQ(backend().name(), GetParam().cuda ? "cuda" : "cpu");
  EXPECT_FALSE(backend().device_description().empty());
  EXPECT_EQ(backend().host_accessible(), !GetParam().cuda);
}

INSTANTIATE_TEST_SUITE_P(Backends, Memory, testing::ValuesIn(backend_cases()), backend_case_name);

TEST(Workspace, GrowsWithThreadsAndTypes) {
  WorkspaceShape shape{.batch = 2,
                       .tokens = 512,
                       .hidden_size = 128,
                       .heads = 4,
                       .key_dim = 32,
                       .value_dim = 64,
                       .ffn_size = 384,
                       .vocab = 257,
                       .logits_rows = 512,
                       .parameters = 1'500'000,
                       .chunk = 64};
  const int64_t one = cpu_workspace_bytes(shape, 1);
  EXPECT_GT(one, 0);
  EXPECT_GT(cpu_workspace_bytes(shape, 4), one);
  shape.compute = DType::kFloat64;
  EXPECT_GT(cpu_workspace_bytes(shape, 1), one);
}

TEST(Arena, PlansWhatItTakes) {
  const auto backend = make_cpu_backend(1);
  Arena plan;
  EXPECT_FALSE(plan.take(DType::kFloat32, {3, 5}));
  plan.take(DType::kBfloat16, {1000});
  const Buffer buffer(*backend, plan.used_bytes());
  Arena arena(buffer);
  const TensorView first = arena.take(DType::kFloat32, {3, 5});
  const int64_t mark = arena.mark();
  const TensorView second = arena.take(DType::kBfloat16, {1000});
  EXPECT_EQ(arena.used_bytes(), plan.used_bytes());
  EXPECT_GE(static_cast<char*>(second.data) - static_cast<char*>(first.data), first.bytes());
  EXPECT_THROW(arena.take(DType::kUint8, {1}), Error);
  arena.rewind(mark);
  EXPECT_EQ(arena.take(DType::kBfloat16, {10}).data, second.data);
  EXPECT_EQ(arena.peak_bytes(), plan.used_bytes() + kAlignmentBytes);
}

}  // namespace
}  // namespace retain::test
