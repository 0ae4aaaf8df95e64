// One input of the fuzzer: bytes taken for a manifest, for a manifest with a forged checksum, and for a shard's record.
// Whatever is accepted is used as a load would use it, on a real step's files. Anything but Error is a finding.
#pragma once

#include <memory>
#include <string_view>

#include "tests/support/ranks.h"
#include "tests/trainer/checkpoint/test_model.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace retain::test {

/// A step of two shards to load from.
class FuzzStep {
 public:
  explicit FuzzStep(const Path& run) {
    run_ranks(2, [&](Communicator& host) {
      const MeshShape mesh{2, 1, 1};
      const TestLayout layout(mesh, 0);
      TestState<float> state(layout.share(mesh, host.rank()), 0);
      state.fill(layout, 1);
      const SaveResult result =
          CheckpointWriter(host, run, {}).save(test_run_state(1, mesh), layout.placements, state.view());
      if (!result.committed) throw Error(result.kind, result.message);
    });
    path_ = checkpoints_directory(run) / step_name(1);
  }
  const Path& path() const { return path_; }
  std::string manifest() const { return read_text(File::open(path_ / kManifestFileName), kManifestLimitBytes); }

 private:
  Path path_;
};

/// What an input led to; so that a test can see that not all of them are refused at once.
enum class FuzzResult : uint8_t { kRefused, kParsed, kLoaded };

/// A manifest that says its own checksum is right.
inline std::string with_checksum(std::string_view input) {
  constexpr std::string_view kTrailer = ",\n\"checksum\":\"";
  const std::string_view body = input.substr(0, std::min(input.size(), input.rfind(kTrailer)));
  return concat(body, kTrailer, to_hex(checksum(body.data(), static_cast<int64_t>(body.size()))), "\"}\n");
}

inline FuzzResult load(const FuzzStep& step, std::string_view text) {
  Manifest manifest;
  try {
    manifest = parse_manifest(text);
  } catch (const Error&) {
    return FuzzResult::kRefused;
  }
  // What was accepted is a value like any other: written and read again it is the same.
  const std::string again = to_text(manifest);
  RETAIN_CHECK(to_text(parse_manifest(again)) == again, "a manifest changes when it is written");
  // A missing file is waited for, which would leave no time for inputs.
  for (const ShardRecord& shard : manifest.shards) {
    if (is_gone(step.path() / shard.file.name)) return FuzzResult::kParsed;
  }
  try {
    const Checkpoint checkpoint(step.path(), std::move(manifest));
    checkpoint.verify_shards();
    for (const TensorRecord& tensor : checkpoint.manifest().tensors) {
      const Box whole = whole_box(tensor.global_shape);
      std::vector<double> values(static_cast<size_t>(whole.elements()));
      for (int i = 0; i < kStates; ++i) {
        checkpoint.read_box(tensor.name, whole, i, values.data(), whole.columns, DType::kFloat64);
      }
    }
  } catch (const Error&) {
    return FuzzResult::kParsed;
  }
  return FuzzResult::kLoaded;
}

inline FuzzResult fuzz_one(const FuzzStep& step, std::string_view input) {
  try {
    parse_shard_record(to_text(parse_shard_record(input)));
  } catch (const Error&) {
    // as it should be for nearly all inputs
  }
  return std::max(load(step, input), load(step, with_checksum(input)));
}

}  // namespace retain::test
