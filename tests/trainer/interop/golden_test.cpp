// Our model beside independent float64 evaluations of fla's and torchscale's conventions, on every backend.
#include "trainer/interop/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/backends.h"
#include "tests/support/tiny_run.h"
#include "trainer/interop/safetensors.h"

namespace retain::test {
namespace {

const std::string kFolder = RETAIN_SOURCE_DIR "/tests/trainer/interop/golden/";

void expect_all_pass(const std::string& name, Backend& backend, DType compute) {
  for (const GoldenComparison& c : check_golden(kFolder + name, backend, compute)) {
    EXPECT_LE(c.error, c.limit) << name << " " << backend.device_description() << " " << dtype_name(compute) << " "
                                << c.mode << " " << c.name;
  }
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, AgreesOnTheCpu) {
  const auto backend = make_cpu_backend(1);
  expect_all_pass(GetParam(), *backend, DType::kFloat32);
  expect_all_pass(GetParam(), *backend, DType::kFloat64);
}

TEST_P(Golden, AgreesOnTheGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const auto backend = make_cuda_backend(0);
  expect_all_pass(GetParam(), *backend, DType::kFloat32);
  expect_all_pass(GetParam(), *backend, DType::kBfloat16);
}

TEST_P(Golden, AChangedWeightIsSeen) {
  const TemporaryDirectory directory;
  std::filesystem::copy(kFolder + GetParam(), directory.path(), std::filesystem::copy_options::recursive);
  std::fstream weights(directory.path() + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-64, std::ios::end);
  const float changed = 1.5F;
  weights.write(reinterpret_cast<const char*>(&changed), sizeof changed);
  weights.close();
  const auto backend = make_cpu_backend(1);
  int failures = 0;
  for (const GoldenComparison& c : check_golden(directory.path(), *backend, DType::kFloat32))
    failures += c.passed() ? 0 : 1;
  EXPECT_GT(failures, 10);
}

TEST_P(Golden, NothingToPredictIsNoAgreement) {
  const TemporaryDirectory directory;
  std::filesystem::copy(kFolder + GetParam(), directory.path(), std::filesystem::copy_options::recursive);
  const std::string path = directory.path() + "/golden.safetensors";
  const SafetensorsFile golden(path);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<SafetensorsTensor> tensors;
  for (const SafetensorsEntry& entry : golden.entries()) {
    bytes.push_back(golden.read_bytes(entry.name));
    if (entry.name == "targets") std::fill(bytes.back().begin(), bytes.back().end(), std::byte{0xff});  // all -1
    tensors.push_back({entry.name, entry.dtype, entry.shape, bytes.back()});
  }
  write_safetensors(path, tensors);
  const auto backend = make_cpu_backend(1);
  EXPECT_THROW(check_golden(directory.path(), *backend, DType::kFloat32), Error);
}

INSTANTIATE_TEST_SUITE_P(Folders, Golden, ::testing::Values("fla-tiny", "torchscale-tiny"), [](const auto& param) {
  return std::string(param.param).substr(0, std::string(param.param).find('-'));
});

}  // namespace
}  // namespace retain::test
