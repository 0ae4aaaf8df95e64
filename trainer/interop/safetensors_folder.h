// The tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json lists, as one. What comes
// from a stranger is checked before any tensor is read. Reading is const and may be done from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/interop/safetensors.h"

namespace retain {

inline constexpr const char* kWeightsFileName = "model.safetensors";
inline constexpr const char* kIndexFileName = "model.safetensors.index.json";

/// "model-00001-of-00002.safetensors", counted from 0.
std::string weights_shard_name(size_t shard, size_t shards);

class SafetensorsFolder {
 public:
  /// Throws Error(kMissingInput), or Error(kData) for shards that are not what the index says.
  explicit SafetensorsFolder(const std::string& folder);

  /// A tensor and the file that holds it; both as long as this folder lives.
  struct Place {
    const SafetensorsFile* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };
  /// Throws Error(kData) when there is no such tensor.
  Place find(std::string_view name) const;
  bool contains(std::string_view name) const;
  /// All tensors, file by file.
  std::vector<Place> tensors() const;
  int64_t count() const;
  /// What messages call it: the only file, or the index.
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<SafetensorsFile> files_;
};

}  // namespace retain
