#include "trainer/checkpoint/inspect.h"

#include <set>

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Digest, IsTheSameForEveryMeshAndChangesWithTheStep) {
  std::set<std::string> digests;
  for (const MeshShape& mesh :
       std::vector<MeshShape>{{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 1, 2}, {2, 2, 1}, {1, 2, 2}, {4, 1, 1}}) {
    const TemporaryDirectory run;
    run_ranks(mesh.ranks(),
              [&](Communicator& host) { EXPECT_EQ(save_on<float>(host, mesh, run.path(), 4).message, ""); });
    digests.insert(compute_digest(open_unverified(run.path())).value);
  }
  EXPECT_EQ(digests.size(), 1U);
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) { save_on<float>(host, {}, run.path(), 5); });
  EXPECT_FALSE(digests.contains(compute_digest(open_unverified(run.path())).value));
}

TEST(Compare, NamesTheTensorAndStateThatDiffer) {
  const TemporaryDirectory a, b;
  const TestLayout layout({}, 0);
  run_ranks(1, [&](Communicator& host) {
    TestState<float> state(layout.whole(), 0);
    state.fill(layout, 4);
    CheckpointWriter(host, a.path(), {}).save(test_run_state(4), layout.placements, state.view());
    RunState run = test_run_state(4);
    run.identity["model.layers"] = "3";
    const size_t at = static_cast<size_t>(layout.placements[1].flat_offset + 5);
    state.values[2][at] += 0.5F;
    CheckpointWriter(host, b.path(), {}).save(run, layout.placements, state.view());
  });
  EXPECT_TRUE(compare(open_unverified(a.path()), open_unverified(a.path())).equal());
  const Difference difference = compare(open_unverified(a.path()), open_unverified(b.path()));
  EXPECT_THAT(difference.keys, ElementsAre("model.layers: 2, 3"));
  ASSERT_EQ(difference.tensors.size(), 1U);
  EXPECT_EQ(difference.tensors[0].name, "layers.0.up.weight");
  EXPECT_EQ(difference.tensors[0].state, "v");
  EXPECT_EQ(difference.tensors[0].elements, 1);
  EXPECT_NEAR(difference.tensors[0].largest, 0.5, 1e-6);
  EXPECT_GT(difference.tensors[0].relative, 0);
}

TEST(Summary, ListsStepsNewestFirstWithTheirTroubles) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    for (const int64_t step : {1, 2}) save_on<float>(host, {2, 1, 1}, run.path(), step);
  });
  std::filesystem::remove(run.path() / "checkpoints" / step_name(1) / "global.h5");
  const std::vector<StepSummary> steps = summarize_steps(run.path());
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].step, 2);
  EXPECT_EQ(steps[0].problem, "");
  EXPECT_EQ(steps[0].shards, 2);
  EXPECT_EQ(steps[0].parameters, 53 * 24 + 2 * (40 + 36) * 24 + 24);
  EXPECT_EQ(steps[0].state.mesh.dp, 2);
  EXPECT_EQ(steps[1].step, 1);
  EXPECT_EQ(steps[1].condition, StepCondition::kDamaged);
  EXPECT_THAT(steps[1].problem, HasSubstr("global.h5"));
}

TEST(SetAside, IsListedWithItsBytes) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  run_ranks(1, [&](Communicator& host) {
    for (const int64_t step : {1, 2}) save_on<float>(host, {}, run.path(), step);
  });
  int64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(checkpoints / step_name(2))) {
    bytes += static_cast<int64_t>(file.file_size());
  }
  set_aside_newer(checkpoints, 1);
  const std::vector<SetAsideStep> aside = list_set_aside(checkpoints);
  ASSERT_EQ(aside.size(), 1U);
  EXPECT_EQ(aside[0].kind, kOfAnOlderFuture);
  EXPECT_EQ(aside[0].step, 2);
  EXPECT_EQ(bytes_of(aside[0]), bytes);
}

TEST(Inspect, RefusesAPathThatIsNoCheckpoint) {
  const TemporaryDirectory run;
  EXPECT_THAT(error_of(ErrorKind::kMissingInput, [&] { open_unverified(run.path()); }), HasSubstr(run.path().string()));
}

}  // namespace
}  // namespace retain::test
