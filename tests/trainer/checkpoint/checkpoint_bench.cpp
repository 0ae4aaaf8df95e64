// How fast checkpoints are saved and loaded here, against plain writing and reading of as many bytes.
//   checkpoint_bench DIRECTORY [MiB=1024] [ROUNDS=3]
// One process; lines of key=value. Reads are cold: the files' pages are dropped from the cache first.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace retain {
namespace {

template <class Work>
double seconds_of(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void drop_cache(const Path& directory) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const File file = File::open(entry.path());
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

void report(const char* what, int64_t bytes, double seconds) {
  std::printf("%s seconds=%.3f gb_per_second=%.3f\n", what, seconds, static_cast<double>(bytes) * 1e-9 / seconds);
}

// A model of square matrices, cut over tp by columns or whole.
std::vector<TensorPlacement> placements(int64_t matrices, int64_t width, int tp) {
  std::vector<TensorPlacement> all;
  for (int64_t i = 0; i < matrices; ++i) {
    all.push_back({"matrix" + std::to_string(i), {width, width}, {0, 0, width, width / tp}, i * width * width / tp});
  }
  return all;
}

int run(const Path& directory, int64_t mebibytes, int rounds) {
  constexpr int64_t kWidth = 1024;
  const int64_t matrices = std::max<int64_t>(1, (mebibytes << 20) / (kStates * kWidth * kWidth * 4));
  const int64_t elements = matrices * kWidth * kWidth, bytes = elements * kStates * 4;
  std::vector<float> values(static_cast<size_t>(elements * kStates));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 8191) * 1e-3F;
  const auto part = [&](int i) { return TensorView(values.data() + i * elements, DType::kFloat32, {elements}); };
  const FlatState state{ReplicaShare({Range{0, elements}}), part(0), part(1), part(2)};
  const auto host = make_self_communicator();
  const Path run = directory / "checkpoint-bench";
  std::filesystem::create_directories(run);
  RunState about;
  for (int round = 1; round <= rounds; ++round) {
    const Path plain = run / "plain";
    report("plain_write", bytes, seconds_of([&] {
             File file = File::create(plain);
             constexpr int64_t kPiece = int64_t{4} << 20;
             for (int64_t at = 0; at < bytes; at += kPiece) {
               file.write(reinterpret_cast<const char*>(values.data()) + at, std::min(kPiece, bytes - at), at);
             }
             file.sync();
             file.close();
           }));
    drop_cache(run);
    report("plain_read", bytes, seconds_of([&] {
             const File file = File::open(plain);
             std::vector<char> piece(4 << 20);
             for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(piece.size())) {
               file.read(piece.data(), std::min<int64_t>(static_cast<int64_t>(piece.size()), bytes - at), at);
             }
           }));
    std::filesystem::remove(plain);
    about.step = round;
    CheckpointWriter writer(*host, run, {.keep = 2});
    SaveResult result;
    const double saved = seconds_of([&] { result = writer.save(about, placements(matrices, kWidth, 1), state); });
    if (!result.committed) throw Error(result.kind, result.message);
    report("save", bytes, saved);
    const double load = seconds_of([&] {
      drop_cache(run);
      const LoadTarget target{placements(matrices, kWidth, 1), state};
      open_newest(
          *host, run, false, [](const std::string&) {}, &target);
    });
    report("load", bytes, load);
    drop_cache(run);
    const FlatState half{ReplicaShare({Range{0, elements / 2}}), part(0).slice(0, 0, elements / 2),
                         part(1).slice(0, 0, elements / 2), part(2).slice(0, 0, elements / 2)};
    report("load_half_of_every_row", bytes / 2, seconds_of([&] {
             const LoadTarget target{placements(matrices, kWidth, 2), half};
             open_newest(
                 *host, run, false, [](const std::string&) {}, &target);
           }));
  }
  std::filesystem::remove_all(run);
  return 0;
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  return retain::run(argv[1], argc > 2 ? std::atoll(argv[2]) : 1024, argc > 3 ? std::atoi(argv[3]) : 3);
}
