#include "trainer/plan/gpu.h"

#include <algorithm>
#include <cctype>

namespace retain {

namespace {

constexpr int64_t gibibytes(double number) { return static_cast<int64_t>(number * (int64_t{1} << 30)); }

// NVIDIA's data sheets of each product, dense rates. Of names that begin alike the longer is first. The memory that a
// process can have is less than is sold: 139.8 of an H200's 141 GB were read; the others by the same share.
const std::vector<Gpu>& table() {
  static const std::vector<Gpu> gpus = {
      {"GB200", 2500e12, 80e12},
      {"B200", 2250e12, 75e12, gibibytes(178), 8.0e12, 900e9, 1000},
      {"B100", 1750e12, 60e12},
      {"GH200", 989e12, 67e12},
      {"H200 NVL", 835e12, 60e12, gibibytes(139.8), 4.8e12, 450e9, 600},
      {"H200", 989e12, 67e12, gibibytes(139.8), 4.8e12, 450e9, 700},
      {"H100 PCIe", 756e12, 51e12, gibibytes(79.1), 2.0e12, 64e9, 350},
      {"H100 NVL", 835e12, 60e12, gibibytes(93.1), 3.9e12, 300e9, 400},
      {"H100", 989e12, 67e12, gibibytes(79.1), 3.35e12, 450e9, 700},
      {"H800", 989e12, 67e12},
      {"H20", 148e12, 44e12},
      {"A100", 312e12, 19.5e12, gibibytes(79.1), 2.039e12, 300e9, 400},
      {"A800", 312e12, 19.5e12},
      {"A40", 149.7e12, 37.4e12},
      {"A30", 165e12, 10.3e12},
      {"A10", 125e12, 31.2e12},
      {"L40S", 362e12, 91.6e12},
      {"L40", 181e12, 90.5e12},
      {"L4", 121e12, 30.3e12},
      {"RTX 4090", 165e12, 82.6e12},
      {"RTX 3090", 71e12, 35.6e12},
      {"RTX A6000", 154.8e12, 38.7e12},
  };
  return gpus;
}

/// Whether the name stands in the text as whole words.
bool names(const std::string& text, const std::string& name) {
  const auto in_word = [&](size_t at) {
    return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]));
  };
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    if ((at == 0 || !in_word(at - 1)) && !in_word(at + name.size())) return true;
  }
  return false;
}

/// "h100-pcie" of "H100 PCIe"
std::string typed(std::string name) {
  for (char& letter : name) {
    letter = letter == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return name;
}

}  // namespace

const Gpu* find_gpu(const std::string& device) {
  for (const Gpu& gpu : table())
    if (names(device, gpu.name)) return &gpu;
  return nullptr;
}

const Gpu& predicted_gpu(const std::string& name) {
  std::string all;
  for (const Gpu& gpu : table()) {
    if (!gpu.is_predicted()) continue;
    if (typed(name) == typed(gpu.name)) return gpu;
    all += (all.empty() ? "" : ", ") + typed(gpu.name);
  }
  throw Error(ErrorKind::kUsage, concat("no GPU '", name, "' is known (legal: ", all, ")"));
}

double peak_flops(const Target& target, const std::string& device) {
  if (target.device != DeviceKind::kCuda) return 0;
  const Gpu* gpu = find_gpu(device);
  return gpu != nullptr ? gpu->flops(target.compute) : 0;
}

}  // namespace retain
