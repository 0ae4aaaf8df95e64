#include "trainer/interop/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_set>

#include "kernels/core/error.h"

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

constexpr int64_t kMaxRank = 8;

/// Receives the parser's events; only the one shape that a header may have gets through, so nothing nests deeper than
/// an array of a tensor, and a duplicate key cannot hide.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}
  SafetensorsHeader header;

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override { refuse(text); }
  bool number_integer(number_integer_t value) override { refuse(concat(value)); }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) refuse(concat(value));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) refuse(concat(value));
    auto& list = place_ == Place::kShape ? entry_.shape : offsets_;
    if (static_cast<int64_t>(list.size()) == kMaxRank) refuse(concat("more than ", kMaxRank, " numbers"));
    list.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      header.metadata[key_] = text;
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      entry_.dtype = text;
    } else {
      refuse(concat("the text \"", text.substr(0, 64), "\""));
    }
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      place_ = key_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
      entry_ = SafetensorsEntry();
      entry_.name = key_;
      offsets_.clear();
      fields_.clear();
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& text) override {
    if (place_ == Place::kTop) {
      if (!names_.insert(text).second) fail(concat("'", text, "' is there twice"));
    } else {
      const bool known = text == "dtype" || text == "shape" || text == "data_offsets";
      if (place_ == Place::kTensor && !known) {
        fail(concat("tensor '", entry_.name, "': unknown key '", text, "' (legal: dtype, shape, data_offsets)"));
      }
      if (!fields_.insert(text).second) fail(concat("key '", text, "' is there twice in one object"));
    }
    key_ = text;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) finish_tensor();
    place_ = place_ == Place::kTop ? Place::kEnd : Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") refuse("a list");
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    fail(concat("byte ", 8 + position, ": ", error.what()));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kData, concat(path_, ": header: ", message));
  }

  [[noreturn]] void refuse(const std::string& found) const {
    switch (place_) {
      case Place::kMetadata: fail(concat("__metadata__ '", key_, "': found ", found, ", want a text"));
      case Place::kTensor:
      case Place::kShape:
      case Place::kOffsets:
        fail(concat("tensor '", entry_.name, "': ", key_, ": found ", found, ", want ",
                    key_ == "dtype" ? "a text" : "a list of whole numbers from 0 on"));
      default: fail(concat(key_.empty() ? "" : "'" + key_ + "': ", "found ", found, ", want an object"));
    }
  }

  void finish_tensor() {
    const std::string tensor = concat("tensor '", entry_.name, "': ");
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!fields_.contains(field)) fail(concat(tensor, "has no ", field));
    }
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
      fail(concat(tensor, "data_offsets: want two numbers, the first not above the second"));
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    if (safetensors_dtype_order(entry_.dtype) < 0) fail(concat(tensor, "unknown dtype '", entry_.dtype, "'"));
    int64_t bits = safetensors_dtype_bits(entry_.dtype);
    for (const int64_t extent : entry_.shape) {
      if (__builtin_mul_overflow(bits, extent, &bits)) fail(concat(tensor, entry_.describe(), " overflows"));
    }
    if (bits % 8 != 0 || bits / 8 != entry_.end - entry_.begin) {
      fail(concat(tensor, entry_.describe(), " has ", bits, " bits, data_offsets cover ", entry_.end - entry_.begin,
                  " bytes"));
    }
    header.entries.push_back(std::move(entry_));
  }

  const std::string& path_;
  Place place_ = Place::kStart;
  std::string key_;
  SafetensorsEntry entry_;
  std::vector<int64_t> offsets_;
  std::unordered_set<std::string> names_, fields_;
};

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
  HeaderReader reader(path);
  json::sax_parse(text, &reader);
  SafetensorsHeader header = std::move(reader.header);
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
