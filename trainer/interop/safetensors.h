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

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
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
  /// `count` of them.
  void read_bytes(const SafetensorsEntry& entry, int64_t first, int64_t count, std::byte* to) const;
  /// Elements [first, first + count) of a tensor of F32, F64, F16 or BF16, row-major, as float32 (F64 rounds), in
  /// 2 MiB of memory besides. Throws Error(kData) for other types.
  void read_floats(const SafetensorsEntry& entry, int64_t first, int64_t count, float* to) const;
  /// All of them.
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

/// A new file, written front to back, aside: it has its name after publish(). The order is the official writer's: wider
/// types first, then by name; the header is padded with spaces to a multiple of 8 bytes.
class SafetensorsWriter {
 public:
  /// Writes the header of tensors of which name, dtype and shape are given. Throws Error(kCannotCreate), Error(kIo).
  SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// In the order in which their bytes are to be written.
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  /// The next bytes. Throws Error(kIo).
  void write(std::span<const std::byte> data);
  /// All bytes were written: they are durable, and the file has its name. Throws Error(kIo), Error(kCannotCreate).
  void publish();

 private:
  SafetensorsHeader header_;
  OutputFile file_;
  int64_t missing_bytes_ = 0;
};

/// What is written: the bytes of a tensor in row-major order.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

/// A file of tensors that are in memory, by a SafetensorsWriter.
void write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace retain
