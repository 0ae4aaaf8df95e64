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
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers end the program there";
#endif
  try {
    const Buffer buffer(backend(), int64_t{1} << 60);
    FAIL() << "got an exabyte";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos) << error.what();
  }
}

TEST_P(Memory, SaysWhatItIs) {
  EXPECT_EQ(backend().device(), GetParam().cuda ? Device::kCuda : Device::kCpu);
  EXPECT_FALSE(backend().device_description().empty());
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

TEST(Workspace, OperationsUpToTheReservedShapesTakeNoMore) {
  const auto backend = make_cpu_backend(2);
  const WorkspaceShape s{.batch = 2,
                         .tokens = 100,
                         .hidden_size = 60,
                         .heads = 4,
                         .key_dim = 16,
                         .value_dim = 40,
                         .ffn_size = 90,
                         .vocab = 50,
                         .logits_rows = 200,
                         .parameters = 100'000,
                         .chunk = 16};
  backend->reserve_workspace(s);
  const DeviceTensor log2_gamma(*backend, DType::kFloat64, {s.heads}, Values(s.heads, -0.01));
  const auto tensor = [&](const std::vector<int64_t>& shape) {
    return DeviceTensor(*backend, DType::kFloat32, shape, random_values(DeviceTensor::elements(shape), 1));
  };
  const std::vector<int64_t> keys = {s.batch, s.tokens, s.heads, s.key_dim};
  const std::vector<int64_t> values = {s.batch, s.tokens, s.heads, s.value_dim};
  const DeviceTensor q = tensor(keys), k = tensor(keys), v = tensor(values), o = tensor(values), g = tensor(values);
  const DeviceTensor dq = tensor(keys), dk = tensor(keys), dv = tensor(values), dg = tensor(values);
  const DeviceTensor rstd = tensor({s.batch, s.tokens, s.heads}), weight = tensor({s.value_dim});
  const DeviceTensor dweight = tensor({s.value_dim}), x = tensor({200, s.hidden_size}),
                     dx = tensor({200, s.hidden_size});
  const DeviceTensor norm = tensor({s.hidden_size}), dnorm = tensor({s.hidden_size}), row_rstd = tensor({200});
  const DeviceTensor gradient = tensor({s.parameters}), sum(*backend, DType::kFloat64, {1}, {0});
  const int64_t before = backend->allocated_bytes();
  RetentionContext context{.log2_gamma = log2_gamma, .chunk = s.chunk};
  backend->retention_backward({.context = context, .q = q, .k = k, .v = v, .dout = o, .dq = dq, .dk = dk, .dv = dv});
  for (const auto form : {RetentionForm::kChunkwise, RetentionForm::kParallel, RetentionForm::kRecurrent}) {
    context.form = form;
    backend->retention({.context = context, .q = q, .k = k, .v = v, .o = o});
  }
  backend->head_norm_gate_backward(
      {.dy = dv, .o = o, .g = g, .weight = weight, .rstd = rstd, .dout = v, .dg = dg, .dweight = dweight});
  backend->rms_norm_backward({.dy = dx, .x = x, .weight = norm, .rstd = row_rstd, .dx = dx, .dweight = dnorm});
  backend->reduce({.x = gradient, .out = sum});
  EXPECT_EQ(backend->allocated_bytes(), before);
}

TEST(Arena, PlansWhatItTakes) {
  const auto backend = make_cpu_backend(1);
  Arena plan;
  EXPECT_FALSE(plan.take(DType::kFloat32, {3, 5}));
  plan.take(DType::kBfloat16, {1000});
  const Buffer buffer(*backend, plan.used_bytes());
  Arena arena(buffer);
  const TensorView first = arena.take(DType::kFloat32, {3, 5});
  const TensorView second = arena.take(DType::kBfloat16, {1000});
  EXPECT_EQ(arena.used_bytes(), plan.used_bytes());
  EXPECT_GE(static_cast<char*>(second.data) - static_cast<char*>(first.data), first.bytes());
  EXPECT_THROW(arena.take(DType::kUint8, {1}), Error);
}

}  // namespace
}  // namespace retain::test
