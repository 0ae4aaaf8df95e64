// Saving on one mesh and loading on another, and what people see of it.
#include <cstdlib>

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::testing {
namespace {

const std::vector<MeshShape> kMeshes = {{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2},
                                        {2, 1, 2}, {2, 2, 1}, {1, 2, 2}, {4, 1, 1}};

template <class T>
void save_and_load_on_all_meshes() {
  for (const MeshShape& writer : kMeshes) {
    const TemporaryDirectory run;
    run_ranks(writer.ranks(), [&](Communicator& host) {
      const SaveResult saved = save_on<T>(host, writer, run.path(), 7);
      EXPECT_TRUE(saved.committed) << saved.message;
    });
    for (const MeshShape& reader : kMeshes) {
      for (const bool zero : {true, false}) {
        SCOPED_TRACE(writer.describe() + " to " + reader.describe() + (zero ? " with ZeRO" : ""));
        run_ranks(reader.ranks(), [&](Communicator& host) {
          const std::optional<Checkpoint> checkpoint = open_newest(host, run.path(), false, ignore_log);
          ASSERT_TRUE(checkpoint);
          EXPECT_EQ(checkpoint->state().step, 7);
          expect_loaded<T>(host, *checkpoint, reader, zero, 7);
        });
      }
    }
  }
}

TEST(Checkpoint, EveryMeshLoadsEveryOtherInFloat32) { save_and_load_on_all_meshes<float>(); }
TEST(Checkpoint, EveryMeshLoadsEveryOtherInFloat64) { save_and_load_on_all_meshes<double>(); }

TEST(Checkpoint, GivesBackTheRunStateUnchanged) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    ASSERT_EQ(save_on<float>(host, {}, run.path(), 3).message, "");
    const Checkpoint checkpoint = open_verified(host, run.path() / "checkpoints/step-00000003", ignore_log);
    const RunState want = test_run_state(3), &got = checkpoint.state();
    EXPECT_EQ(got.step, want.step);
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_EQ(got.seed, want.seed);
    EXPECT_EQ(got.next_sample, want.next_sample);
    EXPECT_EQ(got.zero, want.zero);
    EXPECT_EQ(got.valid_loss, want.valid_loss);
    EXPECT_EQ(got.build, want.build);
    EXPECT_EQ(got.config_text, want.config_text);
    EXPECT_EQ(got.identity, want.identity);
    EXPECT_EQ(got.extra, want.extra);
  });
}

TEST(Checkpoint, WritesTheSameBytesForTheSameState) {
  const TemporaryDirectory a, b;
  for (const Path& run : {a.path(), b.path()}) {
    run_ranks(2, [&](Communicator& host) { ASSERT_EQ(save_on<float>(host, {2, 1, 1}, run, 5).message, ""); });
  }
  for (const char* name : {"manifest.json", "shard-00000-of-00002.h5", "shard-00001-of-00002.h5", "global.h5"}) {
    const Path file = Path("checkpoints/step-00000005") / name;
    EXPECT_EQ(read_all(a.path() / file), read_all(b.path() / file)) << name;
  }
  EXPECT_EQ(read_all(a.path() / "checkpoints/latest"), "step-00000005\n");
}

TEST(Checkpoint, ConvertsWeightsButNotOptimizerStateToAnotherFloatType) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    ASSERT_EQ(save_on<double>(host, {}, run.path(), 1).message, "");
    const Checkpoint checkpoint = *open_newest(host, run.path(), false, ignore_log);
    const TestLayout layout({}, 0);
    TestState<float> got({0, layout.flat_size}, 0), want({0, layout.flat_size}, 0);
    want.fill(layout, 1);
    FlatState into = got.view();
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { checkpoint.read(layout.placements, into); }),
                ::testing::HasSubstr("float64"));
    into.m = into.v = {};
    checkpoint.read(layout.placements, into);
    EXPECT_EQ(got.values[0], want.values[0]);
  });
}

TEST(Checkpoint, RefusesAnotherShapeNamingTheTensor) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    ASSERT_EQ(save_on<float>(host, {}, run.path(), 1).message, "");
    const Checkpoint checkpoint = *open_newest(host, run.path(), false, ignore_log);
    TestLayout layout({}, 0);
    TestState<float> state({0, layout.flat_size}, 0);
    layout.placements[1].global_shape = {41, 24};
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { checkpoint.read(layout.placements, state.view()); }),
                ::testing::HasSubstr("layers.0.up.weight is 40x24, this model wants 41x24"));
    layout.placements[1].name = "layers.9.up.weight";
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { checkpoint.read(layout.placements, state.view()); }),
                ::testing::HasSubstr("no tensor layers.9.up.weight"));
  });
}

TEST(Checkpoint, IdentityNamesEachDifferingKey) {
  const std::map<std::string, std::string> saved = {
      {"model.layers", "2"}, {"model.heads", "4"}, {"tokenizer", "bytes"}};
  std::map<std::string, std::string> now = saved;
  check_identity(saved, now);
  now = {{"model.layers", "3"}, {"model.heads", "4"}, {"data", "x"}};
  const std::string message = error_of(ErrorKind::kData, [&] { check_identity(saved, now); });
  EXPECT_THAT(message, ::testing::HasSubstr("model.layers: the checkpoint has 2, this run has 3"));
  EXPECT_THAT(message, ::testing::HasSubstr("tokenizer: the checkpoint has bytes, this run has (absent)"));
  EXPECT_THAT(message, ::testing::HasSubstr("data: the checkpoint has (absent), this run has x"));
  EXPECT_THAT(message, ::testing::Not(::testing::HasSubstr("heads")));
  check_identity(saved, now, {"model.layers", "tokenizer", "data"});
}

TEST(Checkpoint, OpensInH5pyAsWholeTensors) {
  if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) GTEST_SKIP() << "no h5py";
  const TemporaryDirectory run;
  const MeshShape mesh{2, 1, 2};
  run_ranks(4, [&](Communicator& host) { ASSERT_EQ(save_on<float>(host, mesh, run.path(), 9).message, ""); });
  // The whole tensors as one rank holds them, for the script to compare with.
  const TestLayout whole({}, 0);
  TestState<float> state({0, whole.flat_size}, 0);
  state.fill(whole, 9);
  for (const TensorPlacement& p : whole.placements) {
    for (int i = 0; i < kStates; ++i) {
      const char* from = reinterpret_cast<const char*>(state.values[i].data() + p.flat_offset);
      write_all(run.path() / (p.name + "." + kStateNames[static_cast<size_t>(i)]),
                std::string(from, static_cast<size_t>(p.box.elements()) * sizeof(float)));
    }
  }
  const std::string command = "/usr/bin/python3 " RETAIN_SOURCE_DIR "/tests/trainer/checkpoint/read_with_h5py.py " +
                              run.path().string() + " step-00000009";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace retain::testing
