#include "trainer/plan/peak_flops.h"

#include <array>
#include <cctype>

namespace retain {

namespace {

struct Peak {
  const char* name;
  double bf16, fp32;
};

// Of names that begin alike the longer is first.
constexpr std::array kPeaks = {
    Peak{"GB200", 2500e12, 80e12},        Peak{"B200", 2250e12, 75e12},      Peak{"B100", 1750e12, 60e12},
    Peak{"GH200", 989e12, 67e12},         Peak{"H200 NVL", 835e12, 60e12},   Peak{"H200", 989e12, 67e12},
    Peak{"H100 PCIe", 756e12, 51e12},     Peak{"H100 NVL", 835e12, 60e12},   Peak{"H100", 989e12, 67e12},
    Peak{"H800", 989e12, 67e12},          Peak{"H20", 148e12, 44e12},        Peak{"A100", 312e12, 19.5e12},
    Peak{"A800", 312e12, 19.5e12},        Peak{"A40", 149.7e12, 37.4e12},    Peak{"A30", 165e12, 10.3e12},
    Peak{"A10", 125e12, 31.2e12},         Peak{"L40S", 362e12, 91.6e12},     Peak{"L40", 181e12, 90.5e12},
    Peak{"L4", 121e12, 30.3e12},          Peak{"RTX 4090", 165e12, 82.6e12}, Peak{"RTX 3090", 71e12, 35.6e12},
    Peak{"RTX A6000", 154.8e12, 38.7e12},
};

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

}  // namespace

double peak_flops(const Target& target, const std::string& device) {
  if (target.device != DeviceKind::kCuda) return 0;
  for (const Peak& peak : kPeaks) {
    if (names(device, peak.name)) return target.compute == DType::kBfloat16 ? peak.bf16 : peak.fp32;
  }
  return 0;
}

}  // namespace retain
