// Saving on one mesh and loading on another, and what people see of it.
#include <fcntl.h>
#include <sys/resource.h>

#include <cstdlib>

#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/inspect.h"

namespace retain::test {
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
          expect_newest_loads<T>(host, run.path(), reader, zero, 7);
        });
      }
    }
  }
}

TEST(Checkpoint, EveryMeshLoadsEveryOtherInFloat32) { save_and_load_on_all_meshes<float>(); }
TEST(Checkpoint, EveryMeshLoadsEveryOtherInFloat64) { save_and_load_on_all_meshes<double>(); }

TEST(Checkpoint, SharesOfSeveralRangesLoadOnAnyOtherCutAndBack) {
  for (const int buckets : {2, 3}) {
    for (const MeshShape& mesh : kMeshes) {
      SCOPED_TRACE(concat(mesh.describe(), " in ", buckets, " buckets"));
      const TemporaryDirectory run;
      run_ranks(mesh.ranks(), [&](Communicator& host) {
        ASSERT_EQ(save_on<float>(host, mesh, run.path(), 7, {.keep = 100}, buckets).message, "");
        for (const int other : {buckets, 1}) {
          for (const bool zero : {true, false}) expect_newest_loads<float>(host, run.path(), mesh, zero, 7, other);
        }
      });
      run_ranks(3, [&](Communicator& host) {
        const MeshShape elsewhere{3, 1, 1};
        expect_newest_loads<float>(host, run.path(), elsewhere, true, 7);
        ASSERT_EQ(save_on<float>(host, elsewhere, run.path(), 8).message, "");
      });
      run_ranks(mesh.ranks(),
                [&](Communicator& host) { expect_newest_loads<float>(host, run.path(), mesh, true, 8, buckets); });
    }
  }
}

// One matrix and one vector over several blocks of checksums, cut into columns by the writers and held by the readers
// in columns or whole, each a part of the flat order: rows and elements that straddle blocks and shards.
TEST(Checkpoint, OfManyBlocksLoadsInOnePassOnAnyCut) {
  constexpr int64_t kRows = 1201, kColumns = 1502, kVector = 700'001;
  const auto value = [](int64_t tensor, int64_t element, int state) {
    return static_cast<float>(
        philox_bits(static_cast<uint64_t>(tensor * kStates + state), static_cast<uint64_t>(element)) % 100003);
  };
  struct Part {
    std::vector<TensorPlacement> placements;
    FlatState state;
    std::vector<float> values;
  };
  const auto part_of = [&](int columns_of, int replicas, int rank, bool fill) {
    Part part;
    const int64_t columns = kColumns / columns_of, cut = rank % columns_of;
    part.placements = {{"vector", {kVector}, {0, 0, kVector, 1}, 0, cut == 0},
                       {"matrix", {kRows, kColumns}, {0, cut * columns, kRows, columns}, kVector}};
    const int64_t flat = align_up(kVector + kRows * columns, replicas);
    const Range range = even_part({0, flat}, rank / columns_of, replicas);
    part.values.assign(static_cast<size_t>(kStates * range.size()), -7);
    for (int64_t i = range.begin; fill && i < std::min(range.end, kVector + kRows * columns); ++i) {
      const int64_t at = i - kVector;
      const int64_t element = at < 0 ? i : at / columns * kColumns + cut * columns + at % columns;
      for (int state = 0; state < kStates; ++state) {
        part.values[static_cast<size_t>(state * range.size() + i - range.begin)] =
            value(at < 0 ? 0 : 1, element, state);
      }
    }
    const auto view = [&](int i) {
      return TensorView(part.values.data() + i * range.size(), DType::kFloat32, {range.size()});
    };
    part.state = {ReplicaShare({range}), view(0), view(1), view(2)};
    return part;
  };
  for (const auto& [writer_columns, writer_replicas] : std::vector<std::pair<int, int>>{{1, 2}, {2, 2}}) {
    const TemporaryDirectory run(TemporaryDirectory::Where::kMemory);
    run_ranks(writer_columns * writer_replicas, [&](Communicator& host) {
      const Part part = part_of(writer_columns, writer_replicas, host.rank(), true);
      ASSERT_TRUE(
          CheckpointWriter(host, run.path(), {}).save(test_run_state(1), part.placements, part.state).committed);
    });
    for (const auto& [columns, replicas] : std::vector<std::pair<int, int>>{{1, 1}, {2, 1}, {1, 3}, {2, 2}}) {
      SCOPED_TRACE(concat(writer_columns, "x", writer_replicas, " to ", columns, "x", replicas));
      run_ranks(columns * replicas, [&](Communicator& host) {
        const Part want = part_of(columns, replicas, host.rank(), true);
        const Part got = part_of(columns, replicas, host.rank(), false);
        const LoadTarget target{got.placements, got.state};
        ASSERT_TRUE(open_newest(host, run.path(), false, ignore_log, &target));
        EXPECT_TRUE(got.values == want.values) << "rank " << host.rank();
      });
    }
  }
}

TEST(Checkpoint, WhatAcceptRefusesIsNoDamage) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    for (const int64_t step : {1, 2}) ASSERT_EQ(save_on<float>(host, {2, 1, 1}, run.path(), step).message, "");
    const TestLayout layout({2, 1, 1}, 0);
    TestState<float> state(layout.share({2, 1, 1}, host.rank()), -7);
    const LoadTarget target{layout.placements, state.view(), [](const RunState& saved) {
                              if (saved.step == 2) throw Error(ErrorKind::kData, "another run's");
                            }};
    EXPECT_EQ(error_of(ErrorKind::kData, [&] { open_newest(host, run.path(), true, ignore_log, &target); }),
              "another run's");
    EXPECT_EQ(list_steps(run.path() / "checkpoints").size(), 2U) << "nothing was set aside";
    EXPECT_EQ(state.values[0][0], -7) << "read before it was accepted";
  });
}

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

TEST(Checkpoint, ConvertsWeightsAndOptimizerStateToAnotherFloatType) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    ASSERT_EQ(save_on<double>(host, {2, 1, 1}, run.path(), 1).message, "");
    const TestLayout layout({}, 0);
    TestState<float> loaded(layout.whole(), 0), read(layout.whole(), 0), want(layout.whole(), 0);
    want.fill(layout, 1);
    const LoadTarget target{layout.placements, loaded.view()};
    const Checkpoint checkpoint = *open_newest(host, run.path(), false, ignore_log, &target);
    for (int i = 0; i < kStates; ++i) {
      for (const TensorPlacement& p : layout.placements) {
        checkpoint.read_box(p.name, p.box, i, &read.values[i][static_cast<size_t>(p.flat_offset)], p.box.columns,
                            DType::kFloat32);
      }
      EXPECT_EQ(loaded.values[i], want.values[i]) << kStateNames[static_cast<size_t>(i)];
      EXPECT_EQ(read.values[i], want.values[i]) << kStateNames[static_cast<size_t>(i)];
    }
  });
}

TEST(Checkpoint, RefusesAnotherShapeNamingTheTensor) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    ASSERT_EQ(save_on<float>(host, {}, run.path(), 1).message, "");
    const Checkpoint checkpoint = *open_newest(host, run.path(), false, ignore_log);
    TestLayout layout({}, 0);
    TestState<float> state(layout.whole(), 0);
    layout.placements[1].global_shape = {41, 24};
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { checkpoint.check_fits(layout.placements, state.view()); }),
                ::testing::HasSubstr("layers.0.up.weight is 40x24, this model wants 41x24"));
    layout.placements[1].name = "layers.9.up.weight";
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { checkpoint.check_fits(layout.placements, state.view()); }),
                ::testing::HasSubstr("no tensor layers.9.up.weight"));
  });
}

TEST(Checkpoint, OpensInH5pyAsWholeTensors) {
  if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) GTEST_SKIP() << "no h5py";
  const TemporaryDirectory run;
  const MeshShape mesh{2, 1, 2};
  run_ranks(4, [&](Communicator& host) { ASSERT_EQ(save_on<float>(host, mesh, run.path(), 9).message, ""); });
  // The whole tensors as one rank holds them, for the script to compare with.
  const TestLayout whole({}, 0);
  TestState<float> state(whole.whole(), 0);
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

// Leaves the process that many descriptors to open.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t free) {
    const int first = ::open("/dev/null", O_RDONLY);
    ::close(first);
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit limit{static_cast<rlim_t>(first) + free, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST(Checkpoint, OfManyShardsIsReadComparedAndHashedWithFewDescriptors) {
  constexpr int kShards = 64;
  const MeshShape mesh{kShards, 1, 1};
  const TestLayout layout(mesh, 0);
  const TemporaryDirectory run(TemporaryDirectory::Where::kMemory);
  Manifest manifest{test_run_state(1, mesh), DType::kFloat32, {}, {}, {}};
  for (const TensorPlacement& p : layout.placements) manifest.tensors.push_back({p.name, p.global_shape});
  for (int rank = 0; rank < kShards; ++rank) {
    TestState<float> state(layout.share(mesh, rank), 0);
    state.fill(layout, 1);
    manifest.shards.push_back(
        write_shard(run.path(), shard_file_name(rank, kShards), 1, layout.placements, state.view()));
  }
  manifest.view = write_recorded_file(run.path(), kViewFileName, {'x'});
  write_new_file(run.path() / kManifestFileName, to_text(manifest));

  const FewDescriptors few(14);
  const Checkpoint checkpoint(run.path(), read_manifest(run.path()));
  TestState<float> got(layout.whole(), 0), want(layout.whole(), 0);
  want.fill(layout, 1);
  read_share(checkpoint, layout.placements, got.view());
  for (int i = 0; i < kStates; ++i) EXPECT_EQ(got.values[i], want.values[i]);
  EXPECT_EQ(compute_digest(checkpoint).tensors.size(), layout.placements.size());
  EXPECT_TRUE(compare(checkpoint, Checkpoint(run.path(), read_manifest(run.path()))).equal());
}

}  // namespace
}  // namespace retain::test
