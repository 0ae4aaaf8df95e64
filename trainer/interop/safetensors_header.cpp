#include "trainer/interop/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "kernels/core/error.h"
#include "trainer/json.h"

namespace retain {
namespace {

using nlohmann::json;

struct DTypeInfo {
  std::string_view name;
  int64_t bits;
};
// The official order, lowest alignment first.
constexpr auto kDTypes = std::to_array<DTypeInfo>(
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}});

constexpr size_t kMaxRank = 8;

/// `place` is for messages: "a.safetensors: header: ".
SafetensorsEntry read_tensor(const std::string& name, const json& value, const std::string& place) {
  if (!value.is_object()) JsonReader(value, concat(place, "'", name, "'")).refuse("an object");
  const std::string tensor = concat(place, "tensor '", name, "': ");
  const auto fail = [&](const auto&... parts) { throw Error(ErrorKind::kData, concat(tensor, parts...)); };
  const JsonReader reader(value, tensor);
  reader.check_keys({"dtype", "shape", "data_offsets"});
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!reader.at(field).exists()) fail("has no ", field);
  }
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> offsets = reader.at("data_offsets").whole_numbers(0, kMaxRank, kLargest);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail("data_offsets: want two numbers, the first not above the second");
  }
  const SafetensorsEntry entry{name, reader.at("dtype").text(), reader.at("shape").whole_numbers(0, kMaxRank, kLargest),
                               offsets[0], offsets[1]};
  if (safetensors_dtype_order(entry.dtype) < 0) fail("unknown dtype '", entry.dtype, "'");
  int64_t bits = safetensors_dtype_bits(entry.dtype);
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bits, extent, &bits)) fail(entry.describe(), " overflows");
  }
  if (bits % 8 != 0 || bits / 8 != entry.end - entry.begin) {
    fail(entry.describe(), " has ", bits, " bits, data_offsets cover ", entry.end - entry.begin, " bytes");
  }
  return entry;
}

}  // namespace

int safetensors_dtype_order(std::string_view dtype) {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == dtype) return static_cast<int>(i);
  }
  return -1;
}

int64_t safetensors_dtype_bits(std::string_view dtype) {
  const int order = safetensors_dtype_order(dtype);
  RETAIN_CHECK(order >= 0, "dtype '", dtype, "'");
  return kDTypes[static_cast<size_t>(order)].bits;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, int64_t data_bytes, const std::string& path) {
  if (!text.starts_with('{'))
    throw Error(ErrorKind::kData, concat(path, ": byte 8: the header does not begin with '{'"));
  const std::string place = path + ": header: ";
  const json parsed = parse_strict_json(text, place, 8);  // after the header's length
  SafetensorsHeader header;
  for (const auto& [name, value] : parsed.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(read_tensor(name, value, place));
      continue;
    }
    if (!value.is_object()) JsonReader(value, concat(place, "'", name, "'")).refuse("an object");
    for (const auto& [key, text_of_key] : value.items()) {
      header.metadata[key] = JsonReader(text_of_key, concat(place, "__metadata__ '", key, "'")).text();
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t covered = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != covered) {
      throw Error(ErrorKind::kData,
                  concat(path, ": tensor '", entry.name, "' begins at byte ", entry.begin, " of the data, want ",
                         covered, ": ", entry.begin > covered ? "there is a hole" : "it overlaps another"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    throw Error(ErrorKind::kData,
                concat(path, ": the header describes ", covered, " bytes of data, the file has ", data_bytes));
  }
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  std::string text = "{";
  const auto separate = [&text] {
    if (text.size() > 1) text += ',';
  };
  if (!header.metadata.empty()) text += concat("\"__metadata__\":", json(header.metadata).dump());
  for (const SafetensorsEntry& entry : header.entries) {
    separate();
    text += concat(json(entry.name).dump(), ":{\"dtype\":\"", entry.dtype, "\",\"shape\":", json(entry.shape).dump(),
                   ",\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace retain
