#include "trainer/interop/file_checksums.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/interop/safetensors_folder.h"

namespace retain {
namespace {

std::string checksum_of(const Path& path) {
  constexpr int64_t kAtOnce = int64_t{4} << 20;
  const File file = File::open_given(path);
  std::vector<char> bytes(static_cast<size_t>(std::min(kAtOnce, file.bytes())));
  BlockChecksums whole(std::numeric_limits<int64_t>::max());
  for (int64_t at = 0; at < file.bytes(); at += kAtOnce) {
    const int64_t some = std::min(kAtOnce, file.bytes() - at);
    file.read(bytes.data(), some, at);
    whole.update(bytes.data(), some);
  }
  return to_hex(file.bytes() > 0 ? whole.finish().front() : checksum(nullptr, 0));
}

}  // namespace

FileChecksums checksums_of_export(const Path& folder) {
  FileChecksums checksums;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name == "config.json" || name == kIndexFileName || name.ends_with(".safetensors"))
      checksums[name] = checksum_of(entry.path());
  }
  return checksums;
}

void verify_files(const Path& folder, const FileChecksums& want) {
  for (const auto& [name, checksum] : want) {
    if (name.find('/') != std::string::npos)
      throw Error(ErrorKind::kData, concat(folder.string(), ": lists ", in_quotes(name), ", which is no file's name"));
    if (checksum_of(folder / name) == checksum) continue;
    throw Error(ErrorKind::kData, concat((folder / name).string(),
                                         ": is not what was exported: it is damaged, or was changed (export it again, "
                                         "or remove retain.json beside it to use it as it is)"));
  }
}

}  // namespace retain
