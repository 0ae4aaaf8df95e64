// How fast a model is loaded for inference, beside reading as many bytes front to back.
//   loading_bench PATH [ROUNDS=3]      PATH: a step directory, or a folder of fla or torchscale
// Lines of key=value: masters' bytes (of a folder all of its bytes) over the seconds of load_trained_model(), which
// opens the device too. "disk": the files' pages are dropped from the cache first.
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "launch/verbs/trained_model.h"

namespace retain {
namespace {

template <class Work>
double seconds_of(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::vector<Path> files_of(const Path& folder) {
  std::vector<Path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string kind = entry.path().extension();
    if (kind == ".h5" || kind == ".safetensors") files.push_back(entry.path());
  }
  return files;
}

void drop_cache(const Path& folder) {
  for (const Path& path : files_of(folder)) {
    const File file = File::open(path);
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

/// The first bytes of the files, in pieces of 4 MiB.
void read_plainly(const Path& folder, int64_t bytes) {
  std::vector<char> piece(4 << 20);
  for (const Path& path : files_of(folder)) {
    const File file = File::open(path);
    for (int64_t at = 0; at < file.bytes() && bytes > 0;) {
      const int64_t some = std::min({static_cast<int64_t>(piece.size()), file.bytes() - at, bytes});
      file.read(piece.data(), some, at);
      at += some;
      bytes -= some;
    }
  }
}

void report(const char* what, int64_t bytes, double seconds) {
  std::printf("%s seconds=%.3f gb_per_second=%.3f\n", what, seconds, static_cast<double>(bytes) * 1e-9 / seconds);
}

int run(const std::string& path, int rounds) {
  int64_t bytes = 0;
  if (std::filesystem::exists(path + "/config.json")) {
    for (const Path& file : files_of(path)) bytes += static_cast<int64_t>(std::filesystem::file_size(file));
  } else {
    const Manifest manifest = read_manifest(path);
    bytes = manifest.parameters() * dtype_bytes(manifest.dtype);
  }
  std::printf("bytes=%lld\n", static_cast<long long>(bytes));
  for (int round = 0; round < rounds; ++round) {
    drop_cache(path);
    report("read_disk", bytes, seconds_of([&] { read_plainly(path, bytes); }));
    drop_cache(path);
    report("load_disk", bytes, seconds_of([&] { load_trained_model(path); }));
    read_plainly(path, int64_t{1} << 62);
    report("read_cache", bytes, seconds_of([&] { read_plainly(path, bytes); }));
    report("load_cache", bytes, seconds_of([&] { load_trained_model(path); }));
  }
  return 0;
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  return retain::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 3);
}
