// The pure parts of retain bench; tests/integration/bench.sh runs the verbs.
#include "launch/bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/session.h"

namespace retain::bench {
namespace {

TEST(Bench, MedianIsTheMiddle) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 100, 2}), 3);
}

TEST(Bench, MedianCountsCallsAndWarmsUp) {
  const auto backend = make_cpu_backend(1);
  int calls = 0;
  EXPECT_GE(median_ms(*backend, 4, 5, [&] { ++calls; }), 0);
  EXPECT_GT(calls, 4 * 5);
}

// 6 FLOPs a token and parameter of the products: nothing is left out and nothing is counted twice.
TEST(Bench, ProjectionsAreAllProductsOfAStep) {
  ModelConfig model;
  for (const FfnKind ffn : {FfnKind::kSwiglu, FfnKind::kGelu}) {
    model.ffn = ffn;
    constexpr int64_t kTokens = 16384;
    for (const int tp : {1, 2}) {
      const Dimensions dims(model, {.sequences = 8, .tokens = kTokens / 8}, DType::kBfloat16, 0, tp, 0, Device::kCuda);
      double flops = 0;
      for (const Projection& p : projections(dims)) flops += 3 * p.count * p.flops();
      const double parameters = static_cast<double>(count_parameters(model).matmul);
      EXPECT_NEAR(flops / (6 * parameters * kTokens / tp), 1, 1e-3) << tp;
    }
  }
}

// The numbers of the analysis that the formula comes from: ns a token and head of an H200.
TEST(Bench, RetentionFloorGivesTheTableOfTheAnalysis) {
  struct Case {
    int64_t key_dim, value_dim, chunk;
    double forward, backward;
  };
  for (const Case& c : {Case{256, 512, 64, 2.98, 4.41},
                        {256, 512, 128, 2.02, 3.10},
                        {256, 512, 256, 1.61, 3.28},
                        {256, 512, 512, 1.85, 3.99},
                        {128, 256, 128, 0.77, 1.13},
                        {64, 128, 128, 0.33, 0.48}}) {
    const RetentionFloor floor = retention_floor(c.key_dim, c.value_dim, c.chunk);
    EXPECT_NEAR(floor.forward_ns, c.forward, 0.01) << c.key_dim << " " << c.chunk;
    EXPECT_NEAR(floor.backward_ns, c.backward, 0.02) << c.key_dim << " " << c.chunk;
  }
}

TEST(Bench, BusBandwidthCountsWhatARankSends) {
  EXPECT_EQ(bus_factor(Collective::kAllReduce, 2), 1);
  EXPECT_EQ(bus_factor(Collective::kAllGather, 2), 0.5);
  EXPECT_EQ(bus_factor(Collective::kAllReduce, 4), 1.5);
  EXPECT_EQ(bus_factor(Collective::kReduceScatter, 4), 0.75);
}

TEST(Bench, ReportLinesUpAndIsJson) {
  Report report("x", {{"name"}, {"ms", 2}, {"of_peak", 3}});
  report.fact("device", "a machine");
  report.fact("peak", nullptr);
  report.row({"long name", 1.0, nullptr});
  report.row({"b", 12.345, 0.5});
  EXPECT_EQ(report.text(),
            "device  a machine\n"
            "peak    -\n"
            "\n"
            "name          ms  of_peak\n"
            "long name   1.00        -\n"
            "b          12.35    0.500\n");
  const auto json = nlohmann::json::parse(report.json());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["bench"], "x");
  EXPECT_EQ(json["device"], "a machine");
  EXPECT_EQ(json["rows"][1]["ms"], 12.345);
  EXPECT_TRUE(json["rows"][0]["of_peak"].is_null());
}

}  // namespace
}  // namespace retain::bench
