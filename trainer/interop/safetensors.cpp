#include "trainer/interop/safetensors.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/dtype.h"
#include "kernels/core/error.h"
#include "trainer/interop/safetensors_header.h"

namespace retain {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// IEEE binary16.
float half_to_float(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float sign = bits >> 15 ? -1.0F : 1.0F;
  if (exponent == 31)
    return mantissa ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

template <class Stored, class Out, class Convert>
std::vector<Out> convert_all(const std::vector<std::byte>& raw, Convert convert) {
  std::vector<Out> out(raw.size() / sizeof(Stored));
  for (size_t i = 0; i < out.size(); ++i) out[i] = convert(load<Stored>(&raw[i * sizeof(Stored)]));
  return out;
}

}  // namespace

int64_t SafetensorsEntry::elements() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string SafetensorsEntry::describe() const {
  std::string text = dtype + "[";
  for (size_t i = 0; i < shape.size(); ++i) text += concat(i ? "," : "", shape[i]);
  return text + "]";
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(File::open_given(path)) {
  uint64_t header_bytes = 0;
  if (file_.bytes() < 8) {
    throw Error(ErrorKind::kData,
                concat(path, ": has ", file_.bytes(), " bytes, want the 8 of a header's length at least"));
  }
  file_.read(&header_bytes, sizeof header_bytes, 0);
  const auto limit = static_cast<uint64_t>(std::min(kSafetensorsMaxHeaderBytes, file_.bytes() - 8));
  if (header_bytes > limit) {
    throw Error(ErrorKind::kData, concat(path, ": byte 0: the header's length is ", header_bytes, ", want at most ",
                                         limit, " (is this a safetensors file?)"));
  }
  std::string text(header_bytes, '\0');
  file_.read(text.data(), static_cast<int64_t>(header_bytes), 8);
  data_begin_ = 8 + static_cast<int64_t>(header_bytes);
  SafetensorsHeader header = parse_safetensors_header(text, file_.bytes() - data_begin_, path);
  entries_ = std::move(header.entries);
  metadata_ = std::move(header.metadata);
  for (size_t i = 0; i < entries_.size(); ++i) by_name_.emplace(entries_[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[it->second];
}

const SafetensorsEntry& SafetensorsFile::entry(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (!entry) throw Error(ErrorKind::kData, concat(path(), ": has no tensor '", name, "'"));
  return *entry;
}

std::vector<std::byte> SafetensorsFile::read_bytes(std::string_view name) const {
  const SafetensorsEntry& e = entry(name);
  std::vector<std::byte> raw(static_cast<size_t>(e.end - e.begin));
  file_.read(raw.data(), e.end - e.begin, data_begin_ + e.begin);
  return raw;
}

void SafetensorsFile::read_bytes(const SafetensorsEntry& e, int64_t first, int64_t count, std::byte* to) const {
  file_.read(to, count, data_begin_ + e.begin + first);
}

void SafetensorsFile::read_floats(const SafetensorsEntry& e, int64_t first, int64_t count, float* to) const {
  const int64_t width = safetensors_dtype_bits(e.dtype) / 8, from = data_begin_ + e.begin + first * width;
  // The disk works on all of it while the beginning is converted.
  ::posix_fadvise(file_.descriptor(), from, count * width, POSIX_FADV_WILLNEED);
  const auto read = [&]<class Stored>(Stored, auto convert) {
    constexpr int64_t kAtOnce = 256 << 10;
    std::vector<Stored> stored(static_cast<size_t>(std::min(count, kAtOnce)));
    for (int64_t done = 0; done < count; done += kAtOnce) {
      const int64_t some = std::min(kAtOnce, count - done);
      file_.read(stored.data(), some * width, from + done * width);
      std::transform(stored.begin(), stored.begin() + some, to + done, convert);
    }
  };
  if (e.dtype == "F32") return file_.read(to, count * width, from);
  if (e.dtype == "BF16") return read(uint16_t{}, [](uint16_t bits) { return Bfloat16{bits}.to_float(); });
  if (e.dtype == "F16") return read(uint16_t{}, half_to_float);
  if (e.dtype == "F64") return read(double{}, [](double value) { return static_cast<float>(value); });
  throw Error(ErrorKind::kData,
              concat(path(), ": tensor '", e.name, "' is ", e.describe(), ", want F32, F64, F16 or BF16"));
}

std::vector<float> SafetensorsFile::read_float(std::string_view name) const {
  const SafetensorsEntry& e = entry(name);
  std::vector<float> out(static_cast<size_t>(e.elements()));
  read_floats(e, 0, e.elements(), out.data());
  return out;
}

std::vector<int32_t> SafetensorsFile::read_int(std::string_view name) const {
  const SafetensorsEntry& e = entry(name);
  const auto narrow = [&](int64_t value) {
    if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max()) {
      throw Error(ErrorKind::kData, concat(path(), ": tensor '", name, "': ", value, " does not fit 32 bits"));
    }
    return static_cast<int32_t>(value);
  };
  if (e.dtype == "I32") return convert_all<int32_t, int32_t>(read_bytes(name), narrow);
  if (e.dtype == "I64") return convert_all<int64_t, int32_t>(read_bytes(name), narrow);
  if (e.dtype == "U16") return convert_all<uint16_t, int32_t>(read_bytes(name), narrow);
  if (e.dtype == "U8") return convert_all<uint8_t, int32_t>(read_bytes(name), narrow);
  throw Error(ErrorKind::kData,
              concat(path(), ": tensor '", name, "' is ", e.describe(), ", want I32, I64, U16 or U8"));
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : header_{std::move(tensors), metadata}, file_(path) {
  std::sort(header_.entries.begin(), header_.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    const int order_a = safetensors_dtype_order(a.dtype), order_b = safetensors_dtype_order(b.dtype);
    return order_a != order_b ? order_a > order_b : a.name < b.name;
  });
  for (SafetensorsEntry& entry : header_.entries) {
    entry.begin = missing_bytes_;
    missing_bytes_ += safetensors_dtype_bits(entry.dtype) * entry.elements() / 8;
    entry.end = missing_bytes_;
  }
  const std::string text = format_safetensors_header(header_);
  // What we write, we can read: duplicate names and the like are found here.
  parse_safetensors_header(text, missing_bytes_, path);
  const auto header_bytes = static_cast<uint64_t>(text.size());
  file_.write(std::as_bytes(std::span(&header_bytes, 1)));
  file_.write(std::as_bytes(std::span(text)));
}

void SafetensorsWriter::write(std::span<const std::byte> data) {
  file_.write(data);
  missing_bytes_ -= static_cast<int64_t>(data.size());
}

void SafetensorsWriter::publish() {
  RETAIN_CHECK(missing_bytes_ == 0, file_.path(), ": ", missing_bytes_, " bytes of tensors were not written");
  file_.sync();
  file_.publish();
}

void write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string_view, std::span<const std::byte>> data;
  for (const SafetensorsTensor& tensor : tensors) {
    entries.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
    data[tensor.name] = tensor.data;
    const auto bytes = static_cast<int64_t>(tensor.data.size());
    RETAIN_CHECK(safetensors_dtype_bits(tensor.dtype) * entries.back().elements() == 8 * bytes, path, ": tensor '",
                 tensor.name, "' is ", entries.back().describe(), ", got ", bytes, " bytes");
  }
  SafetensorsWriter writer(path, std::move(entries), metadata);
  for (const SafetensorsEntry& entry : writer.entries()) writer.write(data.at(entry.name));
  writer.publish();
}

}  // namespace retain
