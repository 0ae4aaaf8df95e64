// What the tests of checkpoints share: directories, saving and loading of the small model, errors.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "tests/support/ranks.h"
#include "tests/trainer/checkpoint/test_model.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace retain::test {

/// A new empty directory, removed at the end.
class TemporaryDirectory {
 public:
  enum class Where : uint8_t {
    kDisk,
    kMemory
  };  ///< kMemory: on tmpfs where there is one, for thousands of small writes
  explicit TemporaryDirectory(Where where = Where::kDisk) {
    const bool memory = where == Where::kMemory && ::access("/dev/shm", W_OK) == 0;
    const Path parent = memory ? Path("/dev/shm") : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "retain-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw Error(ErrorKind::kIo, "mkdtemp " + pattern);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const Path& path() const { return path_; }

 private:
  Path path_;
};

/// Saves on every rank of the mesh; throws if it is not committed.
template <class T>
SaveResult save_on(Communicator& host, const MeshShape& mesh, const Path& run, int64_t step,
                   Retention retention = {.keep = 100}, int buckets = 1) {
  const TestLayout layout(mesh, coordinate_of(mesh, host.rank()).tp, buckets);
  TestState<T> state(layout.share(mesh, host.rank()), T{});
  state.fill(layout, step);
  CheckpointWriter writer(host, run, retention);
  return writer.save(test_run_state(step, mesh), layout.placements, state.view());
}

/// Loads the newest step in the pass that verifies it, and compares every element, padding included.
template <class T>
void expect_newest_loads(Communicator& host, const Path& run, const MeshShape& mesh, bool zero, int64_t step,
                         int buckets = 1) {
  const TestLayout layout(mesh, coordinate_of(mesh, host.rank()).tp, buckets);
  const ReplicaShare share = zero ? layout.share(mesh, host.rank()) : layout.whole();
  TestState<T> got(share, T{-7}), want(share, T{-7});
  want.fill(layout, step);
  const LoadTarget target{layout.placements, got.view()};
  ASSERT_TRUE(open_newest(
      host, run, false, [](const std::string&) {}, &target));
  for (int i = 0; i < kStates; ++i)
    EXPECT_EQ(got.values[i], want.values[i]) << "state " << i << ", rank " << host.rank();
}

/// Fills the share of each present view box by box; elements in padding stay as they are.
inline void read_share(const Checkpoint& checkpoint, const std::vector<TensorPlacement>& placements,
                       const FlatState& into) {
  checkpoint.check_fits(placements, into);
  for (int i = 0; i < kStates; ++i) {
    const TensorView view = into.states()[static_cast<size_t>(i)];
    for (const ShareBox& flat : boxes_of_share(placements, into.share)) {
      const TensorPlacement& p = placements[static_cast<size_t>(flat.placement)];
      char* to = static_cast<char*>(view.data) + flat.offset * dtype_bytes(view.dtype);
      checkpoint.read_box(p.name, flat.box, i, to, p.box.columns, view.dtype);
    }
  }
}

/// Loads this rank's share (or, without ZeRO, its whole flat buffer) and compares every element, padding included.
template <class T>
void expect_loaded(Communicator& host, const Checkpoint& checkpoint, const MeshShape& mesh, bool zero, int64_t step) {
  const TestLayout layout(mesh, coordinate_of(mesh, host.rank()).tp);
  const ReplicaShare share = zero ? layout.share(mesh, host.rank()) : layout.whole();
  TestState<T> got(share, T{-7}), want(share, T{-7});
  want.fill(layout, step);
  read_share(checkpoint, layout.placements, got.view());
  for (int i = 0; i < kStates; ++i) {
    EXPECT_EQ(got.values[i], want.values[i])
        << "state " << kStateNames[static_cast<size_t>(i)] << ", rank " << host.rank();
  }
}

inline std::string read_all(const Path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_all(const Path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// What the work throws; fails if it throws nothing.
template <class Work>
std::string error_of(ErrorKind kind, Work&& work) {
  try {
    work();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

inline std::vector<int64_t> steps_in(const Path& checkpoints) {
  std::vector<int64_t> steps;
  for (const StepEntry& entry : list_steps(checkpoints)) steps.push_back(entry.step);
  return steps;
}

inline void ignore_log(const std::string&) {}

}  // namespace retain::test
