// What only the CUDA backend has: the table of measured products, staged copies, a workspace that is fixed once.
#include <numeric>

#include "kernels/workspace.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    backend_ = make_cuda_backend(0);
  }
  Backend& backend() { return *backend_; }

  Values product(Backend& on) {
    const DeviceTensor a(on, DType::kBfloat16, {96, 64}, random_values(96 * 64, 1));
    const DeviceTensor b(on, DType::kBfloat16, {64, 128}, random_values(64 * 128, 2));
    const DeviceTensor c(on, DType::kFloat32, {96, 128});
    on.matmul({.a = a, .b = b, .c = c});
    return c.values();
  }

 private:
  std::unique_ptr<Backend> backend_;
};

TEST_F(Cuda, TableOfProductsSurvivesTheTrip) {
  const Values first = product(backend());
  const std::string table = backend().tuning();
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2) << table;
  const auto other = make_cuda_backend(0);
  EXPECT_EQ(other->set_tuning(table), "");
  EXPECT_EQ(other->tuning(), table);
  const int64_t learned = other->times_learned();
  EXPECT_EQ(product(*other), first);
  EXPECT_EQ(other->tuning(), table);
  EXPECT_EQ(other->times_learned(), learned);
}

TEST_F(Cuda, SaysWhenItHasLearnedSomething) {
  EXPECT_EQ(backend().times_learned(), 0);
  const Values first = product(backend());
  const int64_t learned = backend().times_learned();
  EXPECT_GT(learned, 0);
  EXPECT_EQ(product(backend()), first);
  EXPECT_EQ(backend().times_learned(), learned);
}

TEST_F(Cuda, TableThatIsNotOfThisProgramAndDeviceIsIgnoredWithTheReason) {
  const std::string empty = backend().tuning();
  EXPECT_NE(backend().set_tuning("retain matmul plans 1, cublasLt 1, Voodoo\n1 2 3 : 4\n"), "");
  EXPECT_NE(backend().set_tuning(empty + "1 2 3 : 4\n"), "");
  EXPECT_EQ(backend().tuning(), empty);
}

TEST_F(Cuda, CopiesLargerThanTheStagingMemoryArriveWhole) {
  constexpr int64_t kElements = 9 * 1024 * 1024 + 7;  // 36 MiB through four slots of 4
  Values values(kElements);
  std::iota(values.begin(), values.end(), 0.0);
  const DeviceTensor x(backend(), DType::kInt32, {kElements}, values);
  EXPECT_EQ(x.values(), values);
}

TEST_F(Cuda, WorkspaceIsFixedOnceReserved) {
  WorkspaceShape shape{.batch = 1, .tokens = 64, .hidden_size = 64, .key_dim = 8, .value_dim = 8};
  backend().reserve_workspace(shape);
  constexpr int64_t kWidth = 32 * 1024;
  const DeviceTensor x(backend(), DType::kBfloat16, {2, kWidth}, random_values(2 * kWidth, 1));
  const DeviceTensor y(backend(), DType::kBfloat16, {2, kWidth});
  const DeviceTensor weight(backend(), DType::kFloat32, {kWidth}, Values(kWidth, 1.0));
  const DeviceTensor rstd(backend(), DType::kFloat32, {2}, Values(2, 1.0));
  EXPECT_THROW(
      backend().rms_norm_backward({.dy = x, .x = x, .weight = weight, .rstd = rstd, .dx = y, .dweight = weight}),
      Error);
}

TEST_F(Cuda, ARecordingDoesAgainWhatWasQueuedWithWhatMemoryHoldsThen) {
  const DeviceTensor a(backend(), DType::kBfloat16, {96, 64}, random_values(96 * 64, 1));
  const DeviceTensor b(backend(), DType::kBfloat16, {64, 128}, random_values(64 * 128, 2));
  const DeviceTensor c(backend(), DType::kFloat32, {96, 128}), sum(backend(), DType::kFloat64, {1});
  const auto work = [&] {
    const Phase phase(backend(), "a phase");
    backend().begin_layer(0);
    backend().matmul({.a = a, .b = b, .c = c});
    backend().reduce({.kind = ReduceKind::kSum, .x = c.view().reshaped({96 * 128}), .out = sum});
  };
  work();
  const Values before = sum.values();
  backend().fill(sum, 7);
  const std::unique_ptr<Recording> recording = backend().record(work);
  ASSERT_TRUE(recording);
  EXPECT_EQ(sum.values(), Values{7}) << "nothing is done yet";
  recording->queue();
  EXPECT_EQ(sum.values(), before);
  backend().fill(a, 0);
  recording->queue();
  recording->queue();
  EXPECT_EQ(sum.values(), Values{0});
}

TEST_F(Cuda, ARecordingThatFailsLeavesTheQueueAsItWas) {
  const DeviceTensor x(backend(), DType::kFloat32, {4}, {1, 2, 3, 4});
  double out[2] = {};
  EXPECT_THROW(static_cast<void>(backend().record([&] {
                 backend().fill(x, 5);
                 backend().download(out, x.view().slice(0, 0, 1));
               })),
               Error);
  const DeviceTensor a(backend(), DType::kBfloat16, {16, 16}, random_values(256, 1)),
      c(backend(), DType::kFloat32, {16, 16});
  EXPECT_THROW(static_cast<void>(backend().record([&] { backend().matmul({.a = a, .b = a, .c = c}); })), Error)
      << "a product that was never met";
  EXPECT_EQ(x.values(), (Values{1, 2, 3, 4}));
  EXPECT_EQ(product(backend()).size(), 96U * 128);
}

TEST(CudaWorkspace, GrowsWithTokensAndHoldsTheLibrarysPart) {
  WorkspaceShape shape{.batch = 1,
                       .tokens = 16384,
                       .hidden_size = 2048,
                       .heads = 8,
                       .key_dim = 256,
                       .value_dim = 512,
                       .chunk = 256,
                       .compute = DType::kBfloat16};
  const int64_t bytes = cuda_workspace_bytes(shape);
  EXPECT_GT(bytes, int64_t{64} << 20);
  shape.tokens *= 2;
  EXPECT_GT(cuda_workspace_bytes(shape), bytes);
}

}  // namespace
}  // namespace retain::test
