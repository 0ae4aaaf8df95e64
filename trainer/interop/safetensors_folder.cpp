#include "trainer/interop/safetensors_folder.h"

#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/json.h"

namespace retain {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{64} << 20;
constexpr size_t kMaxShards = 10'000;  // each is an open file

/// The shards of an index and what it says that each holds.
using Shards = std::map<std::string, std::vector<std::string>>;

/// A name in the folder itself, and no hidden one.
bool is_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Shards read_index(const std::string& path) {
  const nlohmann::json index = parse_strict_json(read_text(File::open_given(path), kMaxIndexBytes), path + ": ");
  const JsonReader reader(index, path + ": ");
  if (!index.is_object() || !reader.at("weight_map").exists()) reader.refuse("an object with a weight_map");
  Shards shards;
  for (const auto& [tensor, file] : reader.at("weight_map").texts()) {
    if (!is_file_name(file))
      throw Error(ErrorKind::kData, concat(path, ": '", tensor, "' lies in ", in_quotes(file),
                                           ", want the name of a file of this folder"));
    shards[file].push_back(tensor);
  }
  if (shards.empty() || shards.size() > kMaxShards)
    throw Error(ErrorKind::kData, concat(path, ": names ", shards.size(), " files, want 1 to ", kMaxShards));
  return shards;
}

}  // namespace

std::string weights_shard_name(size_t shard, size_t shards) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

SafetensorsFolder::SafetensorsFolder(const std::string& folder) : path_(folder + "/" + kWeightsFileName) {
  std::error_code error;
  const std::string index = folder + "/" + kIndexFileName;
  if (std::filesystem::exists(path_, error) || !std::filesystem::exists(index, error)) {
    files_.emplace_back(path_);
    return;
  }
  path_ = index;
  for (const auto& [name, tensors] : read_index(index)) {
    const SafetensorsFile& file = files_.emplace_back(concat(folder, "/", name));
    for (const std::string& tensor : tensors) {
      if (!file.contains(tensor))
        throw Error(ErrorKind::kData,
                    concat(index, ": says that ", file.path(), " holds '", tensor, "', which it does not"));
    }
    if (file.entries().size() != tensors.size())
      throw Error(ErrorKind::kData, concat(file.path(), ": holds ", file.entries().size(), " tensors, ", index,
                                           " lists ", tensors.size(), " of it"));
  }
}

bool SafetensorsFolder::contains(std::string_view name) const {
  for (const SafetensorsFile& file : files_) {
    if (file.contains(name)) return true;
  }
  return false;
}

SafetensorsFolder::Place SafetensorsFolder::find(std::string_view name) const {
  for (const SafetensorsFile& file : files_) {
    if (file.contains(name)) return {&file, &file.entry(name)};
  }
  throw Error(ErrorKind::kData, concat(path_, ": has no tensor '", name, "'"));
}

std::vector<SafetensorsFolder::Place> SafetensorsFolder::tensors() const {
  std::vector<Place> all;
  for (const SafetensorsFile& file : files_) {
    for (const SafetensorsEntry& entry : file.entries()) all.push_back({&file, &entry});
  }
  return all;
}

int64_t SafetensorsFolder::count() const {
  int64_t count = 0;
  for (const SafetensorsFile& file : files_) count += static_cast<int64_t>(file.entries().size());
  return count;
}

}  // namespace retain
