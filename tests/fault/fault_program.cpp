// What a training run does with checkpoints, and nothing else: lock, resume, compare what was loaded, save the steps up
// to TARGET. Alone or under mpirun. An acknowledged step leaves the directory RUN/ack-STEP.
//   fault_program RUN TARGET [in-place]
// Exit codes: 0, those of Error, and 99 when a checkpoint loaded something else than was saved.
// "in-place" saves wrongly on purpose: it writes over the one step that is there, without a rename.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "parallel/mpi/launch.h"
#include "parallel/mpi/mpi_communicator.h"
#include "tests/trainer/checkpoint/test_model.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace retain::test {
namespace {

constexpr int kLoadedSomethingElse = 99;

bool loaded_well(Communicator& host, TestState<float>& got, int64_t step) {
  const MeshShape mesh{host.size(), 1, 1};
  const TestLayout layout(mesh, 0);
  TestState<float> want(layout.share(mesh, host.rank()), 0);
  want.fill(layout, step);
  return got.values[0] == want.values[0] && got.values[1] == want.values[1] && got.values[2] == want.values[2];
}

void save_in_place(Communicator& host, const Path& run, int64_t step, const TestLayout& layout,
                   const FlatState& state) {
  const Path directory = checkpoints_directory(run) / step_name(1);
  if (host.rank() == 0) {
    ::mkdir(checkpoints_directory(run).c_str(), 0777);
    ::mkdir(directory.c_str(), 0777);
  }
  host.barrier();
  const std::string name = shard_file_name(host.rank(), host.size());
  ::unlink((directory / name).c_str());
  const ShardRecord mine = write_shard(directory, name, step, layout.placements, state);
  const std::vector<std::string> texts = gather_texts(host, to_text(mine));
  if (host.rank() == 0) {
    Manifest manifest{test_run_state(step, {host.size(), 1, 1}), DType::kFloat32, {}, {}, {}};
    for (const TensorPlacement& p : layout.placements) manifest.tensors.push_back({p.name, p.global_shape});
    for (const std::string& text : texts) manifest.shards.push_back(parse_shard_record(text));
    for (const char* file : {kViewFileName, kManifestFileName}) ::unlink((directory / file).c_str());
    manifest.view = write_recorded_file(directory, kViewFileName, {'x'});
    write_new_file(directory / kManifestFileName, to_text(manifest));
  }
  host.barrier();
}

int run(Communicator& host, const Path& run, int64_t target, bool in_place) {
  std::optional<RunLock> lock;
  Outcome locked;
  if (host.rank() == 0) {
    locked = attempt([&] {
      ::mkdir(run.c_str(), 0777);
      lock.emplace(run);
    });
  }
  broadcast_outcome(host, locked, 0).throw_if_failed();
  const MeshShape mesh{host.size(), 1, 1};
  const TestLayout layout(mesh, 0);
  TestState<float> state(layout.share(mesh, host.rank()), 0);
  const LoadTarget into{layout.placements, state.view()};
  const std::optional<Checkpoint> checkpoint = open_newest(
      host, run, true, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }, &into);
  const int64_t resumed = checkpoint ? checkpoint->state().step : 0;
  if (checkpoint && !loaded_well(host, state, resumed)) return kLoadedSomethingElse;
  if (host.rank() == 0) std::printf("resumed %lld\n", static_cast<long long>(resumed));

  CheckpointWriter writer(host, run, {.keep = 2}, lock ? &*lock : nullptr);
  for (int64_t step = resumed + 1; step <= target; ++step) {
    state.fill(layout, step);
    if (in_place) {
      save_in_place(host, run, step, layout, state.view());
    } else {
      const SaveResult result = writer.save(test_run_state(step, mesh), layout.placements, state.view());
      if (!result.committed) throw Error(result.kind, result.message);
      if (host.rank() == 0 && !result.message.empty()) std::fprintf(stderr, "%s\n", result.message.c_str());
    }
    if (host.rank() == 0) ::mkdir((run / concat("ack-", step)).c_str(), 0777);
  }
  return 0;
}

}  // namespace
}  // namespace retain::test

int main(int argc, char** argv) {
  using namespace retain;
  if (argc < 3) return static_cast<int>(ErrorKind::kUsage);
  const bool in_place = argc > 3 && std::string_view(argv[3]) == "in-place";
  const bool launched = find_launch(std::getenv, mpi_family()).in_mpi;
  try {
    std::optional<MpiEnvironment> environment;
    if (launched) environment.emplace();
    const auto host = launched ? make_mpi_communicator(*environment) : make_self_communicator();
    return test::run(*host, argv[1], std::atoll(argv[2]), in_place);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    if (launched) MpiEnvironment::abort(e.exit_code());
    return e.exit_code();
  }
}
