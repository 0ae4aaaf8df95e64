// The choice of chunk and folding, over every width of a head and decays from none to all.
#include "kernels/retention_plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/workspace_layout.h"

namespace retain::test {
namespace {

/// claim(request) for GPUs.
template <class Claim>
void for_each_gpu_request(const Claim& claim) {
  for (int64_t key_dim = 2; key_dim <= 520; key_dim += 2) {
    for (const int64_t value_dim : {4, 8, 20, 64, 128, 512}) {
      for (double gamma = 0; gamma <= 1; gamma += 1.0 / 64) {
        for (const int64_t chunk : {0, 1, 64, 128, 256, 1000}) {
          claim(RetentionRequest{.device = Device::kCuda,
                                 .key_dim = key_dim,
                                 .value_dim = value_dim,
                                 .least_log2_gamma = std::log2(gamma),
                                 .chunk = chunk});
        }
      }
    }
  }
}

bool has_vectors(const RetentionRequest& r) { return r.key_dim % 8 == 0 && r.value_dim % 8 == 0; }

TEST(RetentionPlan, CpusTakeAnyChunkAndFoldNothing) {
  for (const double log2_gamma : {0.0, -0.05, -1000.0}) {
    for (const int64_t chunk : {1, 7, 64, 300}) {
      const RetentionPlan plan =
          retention_plan({.key_dim = 256, .value_dim = 512, .least_log2_gamma = log2_gamma, .chunk = chunk});
      EXPECT_EQ(plan.chunk, chunk);
      EXPECT_EQ(plan.fold_chunk, 0);
    }
  }
  EXPECT_EQ(retention_plan({.key_dim = 256, .value_dim = 512}).chunk, 64);
}

TEST(RetentionPlan, HeadsOfTheConfigsGetHoppersKernels) {
  const double eq8 = std::log1p(-1.0 / 32) / std::log(2.0);
  for (const auto& [key_dim, value_dim, chunk] : {std::tuple{256, 512, 256}, {128, 256, 128}}) {
    const RetentionPlan plan =
        retention_plan({.device = Device::kCuda, .key_dim = key_dim, .value_dim = value_dim, .least_log2_gamma = eq8});
    EXPECT_EQ(plan.fold_chunk, chunk);
    EXPECT_TRUE(cuda::hopper_serves(plan.chunk, key_dim, value_dim));
  }
}

TEST(RetentionPlan, GpusFoldInTheirOwnChunkOrTakeAny) {
  for_each_gpu_request([](const RetentionRequest& r) {
    const RetentionPlan plan = retention_plan(r);
    const bool folds = plan.fold_chunk > 0;
    ASSERT_EQ(plan.chunk, folds ? (r.key_dim >= 256 ? 256 : 128) : r.chunk > 0 ? r.chunk : 64);
    ASSERT_TRUE(!folds || plan.fold_chunk == plan.chunk);
    ASSERT_TRUE(!folds || has_vectors(r)) << r.key_dim << "/" << r.value_dim;
  });
}

// What a folded key is multiplied by, and a query, with values of 2^±66 besides.
TEST(RetentionPlan, FoldedDecaysAreFiniteAndNormal) {
  for_each_gpu_request([](const RetentionRequest& r) {
    const RetentionPlan plan = retention_plan(r);
    if (plan.fold_chunk == 0) return;
    const auto power = static_cast<float>(r.least_log2_gamma * static_cast<double>(plan.fold_chunk));
    ASSERT_TRUE(std::isfinite(std::exp2(-power) * 0x1p66F)) << std::exp2(r.least_log2_gamma);
    ASSERT_TRUE(std::isnormal(std::exp2(power) * 0x1p-66F)) << std::exp2(r.least_log2_gamma);
  });
}

TEST(RetentionPlan, TheBoundIsTwoToTheSixty) {
  RetentionRequest request{.device = Device::kCuda, .key_dim = 64, .value_dim = 128, .least_log2_gamma = -60.0 / 128};
  EXPECT_EQ(retention_plan(request).fold_chunk, 128);
  request.key_dim = 256;
  EXPECT_EQ(retention_plan(request).fold_chunk, 0);
  request.least_log2_gamma = -60.0 / 256;
  EXPECT_EQ(retention_plan(request).fold_chunk, 256);
  request.least_log2_gamma = -60.1 / 256;
  EXPECT_EQ(retention_plan(request).fold_chunk, 0);
}

}  // namespace
}  // namespace retain::test
