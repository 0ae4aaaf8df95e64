#include "trainer/interop/import_run.h"

#include <algorithm>
#include <vector>

#include "trainer/checkpoint/store.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"

namespace retain {
namespace {

constexpr int64_t kShardElements = int64_t{32} << 20;  // of which master, m and v lie in one file

}  // namespace

Path write_first_step(const WeightSource& weights, const ModelConfig& model, const RunState& state,
                      const Path& run_directory, const std::function<void(int64_t, int64_t)>& progress) {
  RETAIN_CHECK(state.step == 0, "a first step ", state.step);
  const ParameterLayout layout(model, 0, 1, 1);
  const std::vector<TensorPlacement> placements = placements_of(layout, 0);
  const DType dtype = weights.dtype();
  const int64_t shards = (layout.flat_elements + kShardElements - 1) / kShardElements;
  const auto bytes = static_cast<size_t>(std::min(kShardElements, layout.flat_elements) * dtype_bytes(dtype));
  std::vector<char> masters(bytes);
  const std::vector<char> zeros(bytes);

  const Path checkpoints = checkpoints_directory(run_directory);
  const Path temporary = create_temporary(checkpoints, state.step);
  std::vector<ShardRecord> records;
  for (int64_t i = 0; i < shards; ++i) {
    const ReplicaShare share({{i * kShardElements, std::min(layout.flat_elements, (i + 1) * kShardElements)}});
    read_share(weights, placements, share, masters.data());
    const auto view = [&](const char* memory) {  // which nobody writes to
      return TensorView(const_cast<char*>(memory), dtype, {share.size()});
    };
    const FlatState part{
        .share = share, .master = view(masters.data()), .m = view(zeros.data()), .v = view(zeros.data())};
    records.push_back(write_shard(temporary, shard_file_name(static_cast<int>(i), static_cast<int>(shards)), state.step,
                                  placements, part));
    progress(i + 1, shards);
  }
  complete_step(temporary, state, dtype, placements, std::move(records));
  const Path step = commit_temporary(temporary, state.step);
  write_latest(checkpoints, state.step);
  return step;
}

}  // namespace retain
