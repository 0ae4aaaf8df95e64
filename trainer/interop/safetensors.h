// Reads and writes safetensors files. Every rule of the format is checked before any tensor is read, and memory stays
// in proportion to the header, which is at most 100,000,000 bytes and never longer than the file: a file may come from
// a stranger. Reading is const and may be done from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trainer/file.h"

namespace retain {

/// One tensor as the header declares it. `dtype` is the format's name: "F32", "BF16", …
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  ///< bytes, from the end of the header
  int64_t elements() const;
  std::string describe() const;  ///< "F32[2,3]"
};

class SafetensorsFile {
 public:
  /// Throws Error(kMissingInput), or Error(kData) naming the file, the tensor and the rule that it breaks.
  explicit SafetensorsFile(const std::string& path);

  std::string path() const { return file_.path().string(); }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  ///< in the order of their bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Throws Error(kData) when there is no such tensor.
  const SafetensorsEntry& entry(std::string_view name) const;

  /// The tensor's bytes as they are stored.
  std::vector<std::byte> read_bytes(std::string_view name) const;
  /// F32, F64, F16 or BF16 as float32 (F64 rounds). Throws Error(kData) for other types.
  std::vector<float> read_float(std::string_view name) const;
  /// I32, I64, U8 or U16 as int32. Throws Error(kData) for other types and for values that do not fit.
  std::vector<int32_t> read_int(std::string_view name) const;

 private:
  const SafetensorsEntry* find(std::string_view name) const;
  File file_;
  int64_t data_begin_ = 0;  ///< of the first tensor's bytes in the file
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string_view, size_t> by_name_;  ///< keys point into entries_
  std::map<std::string, std::string> metadata_;
};

/// What is written: the bytes of a tensor in row-major order.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

/// Writes aside and renames. The order is the official writer's: wider types first, then by name; the header is padded
/// with spaces to a multiple of 8 bytes. Throws Error(kCannotCreate), Error(kIo).
void write_safetensors(const std::string& path, std::vector<SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace retain
