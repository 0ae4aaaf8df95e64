#include "launch/verbs/plan_prediction.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

void report(const std::string& directory, int64_t first, int64_t last, double seconds, int64_t start) {
  std::ofstream metrics(directory + "/metrics.jsonl", std::ios::app);
  for (int64_t step = first; step <= last; ++step)
    metrics << "{\"step\": " << step << ", \"tokens\": " << 100 * step
            << ", \"time\": 1700000000.5, \"start\": " << start << ", \"step_seconds\": " << seconds << "}\n";
}

TEST(MeasuredSteps, AreTheMedianOfTheNewestStart) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(measured_steps(directory.path() + "/none"));
  report(directory.path(), 1, 9, 7, 1);
  EXPECT_FALSE(measured_steps(directory.path())) << "nine steps say little";
  report(directory.path(), 10, 20, 7, 1);
  EXPECT_EQ(measured_steps(directory.path())->seconds, 7);
  report(directory.path(), 21, 29, 2, 2);
  report(directory.path(), 30, 31, 99, 2);
  const std::optional<MeasuredSteps> measured = measured_steps(directory.path());
  ASSERT_TRUE(measured);
  EXPECT_EQ(measured->seconds, 2) << "two slow steps do not move it, and the first start's are another machine's";
  EXPECT_EQ(measured->steps, 11);
}

TEST(PlanSearch, CountsWhatItCosts) {
  Config config;
  config.data.train = {{.path = "text"}};
  config.train.tokens = 1'000'000'000;
  config.train.batch_tokens = 1 << 18;
  const Gpu gpu = predicted_gpu("h200");
  const LayoutSearch search =
      search_layouts(config, {.gpus = 2, .network_bytes_per_second = 50e9},
                     {.device = DeviceKind::kCuda, .compute = DType::kBfloat16, .memory_bytes = gpu.memory_bytes}, gpu);
  const nlohmann::ordered_json json = to_json(search, config, 2);
  const auto& first = json["layouts"].at(0);
  EXPECT_DOUBLE_EQ(first["cost"].get<double>(), 2 * first["gpu_hours"].get<double>());
  EXPECT_EQ(first["mesh"]["dp"], 2);
  EXPECT_FALSE(to_json(search, config, 0)["layouts"].at(0).contains("cost"));
}

}  // namespace
}  // namespace retain::test
