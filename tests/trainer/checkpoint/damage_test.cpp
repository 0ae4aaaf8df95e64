// Nothing damaged is ever loaded, and the message says what is damaged; older steps take over.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/inspect.h"

namespace retain::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// Sanitizers make each trial slow and do not change what is found.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStride = 61;
#else
constexpr size_t kStride = 1;
#endif

// A run with steps 1 and 2 of two shards each, on tmpfs.
class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    run_ranks(2, [&](Communicator& host) {
      for (const int64_t step : {1, 2}) ASSERT_EQ(save_on<float>(host, {2, 1, 1}, run_.path(), step).message, "");
    });
  }
  Path step(int64_t n) const { return run_.path() / "checkpoints" / step_name(n); }
  // The step that a resume on `ranks` ranks takes.
  int64_t resumed_step(int ranks, bool set_aside = false) {
    int64_t step = -1;
    run_ranks(ranks, [&](Communicator& host) {
      const MeshShape mesh{ranks, 1, 1};
      const std::optional<Checkpoint> checkpoint =
          open_newest(host, run_.path(), set_aside, [&](const std::string& line) { log_ += line + "\n"; });
      ASSERT_TRUE(checkpoint);
      expect_loaded<float>(host, *checkpoint, mesh, true, checkpoint->state().step);
      if (!set_aside) expect_newest_loads<float>(host, run_.path(), mesh, true, checkpoint->state().step);
      if (host.rank() == 0) step = checkpoint->state().step;
    });
    return step;
  }

  TemporaryDirectory run_{TemporaryDirectory::Where::kMemory};
  std::string log_;
};

TEST_F(Damage, EveryFlippedByteOfEveryFileIsFoundNamingFileAndTensor) {
  int64_t flips = 0;
  const Checkpoint checkpoint = open_unverified(step(2));
  for (const char* name : {"shard-00000-of-00002.h5", "shard-00001-of-00002.h5", "global.h5", "manifest.json"}) {
    const Path path = step(2) / name;
    const std::string whole = read_all(path);
    const int descriptor = ::open(path.c_str(), O_WRONLY);
    ASSERT_GE(descriptor, 0);
    for (size_t i = 0; i < whole.size(); i += kStride) {
      const char flipped = static_cast<char>(whole[i] ^ (1 << (i % 8)));
      ASSERT_EQ(::pwrite(descriptor, &flipped, 1, static_cast<off_t>(i)), 1);
      std::vector<std::string> problems;
      const auto note = [&](const Error& error) { problems.push_back(error.what()); };
      switch (name[0]) {  // verify_step does all three; for speed, only the one that can be concerned
        case 's': checkpoint.verify_shards(0, 1, note); break;
        case 'g': checkpoint.verify_view(note); break;
        default: problems = verify_step(step(2)).problems;
      }
      ASSERT_EQ(problems.size(), 1U) << name << " byte " << i;
      ASSERT_THAT(problems[0], HasSubstr(path.string()));
      ASSERT_THAT(problems[0], AnyOf(HasSubstr("embeddings.weight"), HasSubstr("layers."), HasSubstr("norm.weight"),
                                     HasSubstr("view"), HasSubstr("manifest")));
      ASSERT_EQ(::pwrite(descriptor, &whole[i], 1, static_cast<off_t>(i)), 1);
      ++flips;
    }
    ::close(descriptor);
  }
  EXPECT_TRUE(verify_step(step(2)).problems.empty());
  RecordProperty("flips", std::to_string(flips));
}

TEST_F(Damage, TruncationsExtensionsAndZeroedTailsAreFound) {
  for (const char* name : {"shard-00000-of-00002.h5", "shard-00001-of-00002.h5", "global.h5", "manifest.json"}) {
    const Path path = step(2) / name;
    const std::string whole = read_all(path);
    for (size_t n = 0; n < whole.size(); n += 96 + kStride) {
      write_all(path, whole.substr(0, n));
      ASSERT_THAT(verify_step(step(2)).problems, ::testing::ElementsAre(HasSubstr(path.string())))
          << name << " cut at " << n;
      std::string zeroed = whole;
      std::fill(zeroed.begin() + static_cast<std::ptrdiff_t>(n), zeroed.end(), '\0');
      if (zeroed == whole) continue;
      write_all(path, zeroed);
      ASSERT_FALSE(verify_step(step(2)).problems.empty()) << name << " zero from " << n;
    }
    write_all(path, whole + '\0');
    EXPECT_FALSE(verify_step(step(2)).problems.empty()) << name;
    write_all(path, whole);
  }
  EXPECT_TRUE(verify_step(step(2)).problems.empty());
}

TEST_F(Damage, SwappedForeignMissingAndStrangeShardsAreFoundAndTheOlderStepIsUsed) {
  const Path a = step(2) / "shard-00000-of-00002.h5", b = step(2) / "shard-00001-of-00002.h5";
  const std::string whole_a = read_all(a), whole_b = read_all(b);
  const auto expect_fallback = [&](const std::string& reason) {
    log_.clear();
    for (const int ranks : {1, 3}) EXPECT_EQ(resumed_step(ranks), 1);
    EXPECT_THAT(log_, HasSubstr(reason));
    EXPECT_THAT(log_, HasSubstr("it holds embeddings.weight master"));
  };
  write_all(a, whole_b);
  write_all(b, whole_a);
  expect_fallback("shard-00000-of-00002.h5");
  write_all(b, whole_b);
  write_all(a, read_all(step(1) / a.filename()));
  log_.clear();
  EXPECT_EQ(resumed_step(2), 1);
  EXPECT_THAT(log_, HasSubstr("have the checksum"));
  std::filesystem::remove(a);
  expect_fallback("No such file");
  std::filesystem::create_symlink(step(1) / a.filename(), a);
  expect_fallback("symbolic link");
  std::filesystem::remove(a);
  ASSERT_EQ(::mkfifo(a.c_str(), 0600), 0);
  expect_fallback("not a regular file");
  std::filesystem::remove(a);
  std::filesystem::create_directory(a);
  expect_fallback("not a regular file");
  std::filesystem::remove(a);
  write_all(a, whole_a);
  EXPECT_EQ(resumed_step(1), 2);
}

TEST_F(Damage, OfTheViewIsToldButCostsNoStep) {
  std::filesystem::remove(step(2) / "global.h5");
  EXPECT_EQ(resumed_step(2), 2);
  EXPECT_THAT(log_, HasSubstr("not their view"));
}

TEST_F(Damage, MakesTheStepSetAsideAndSavedAnew) {
  write_all(step(2) / "manifest.json", "");
  EXPECT_EQ(resumed_step(2, true), 1);
  EXPECT_FALSE(std::filesystem::exists(step(2)));
  EXPECT_EQ(list_set_aside(run_.path() / "checkpoints").size(), 1U);
  run_ranks(2, [&](Communicator& host) { ASSERT_EQ(save_on<float>(host, {2, 1, 1}, run_.path(), 2).message, ""); });
  EXPECT_EQ(resumed_step(1), 2);
}

TEST_F(Damage, OfAllStepsIsRefusedForEverAndNeverAFreshStart) {
  for (const int64_t n : {1, 2}) std::filesystem::remove(step(n) / "shard-00001-of-00002.h5");
  for (int attempt = 0; attempt < 2; ++attempt) {  // the second finds only what the first set aside
    run_ranks(2, [&](Communicator& host) {
      const std::string message = error_of(ErrorKind::kData, [&] { open_newest(host, run_.path(), true, ignore_log); });
      EXPECT_THAT(message, HasSubstr("no checkpoint in"));
      EXPECT_THAT(message, HasSubstr("step-00000002"));
      EXPECT_THAT(message, HasSubstr("step-00000001"));
    });
  }
}

TEST_F(Damage, OfANamedStepIsRefusedWithoutFallback) {
  std::filesystem::remove(step(2) / "shard-00001-of-00002.h5");
  run_ranks(2, [&](Communicator& host) {
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { open_verified(host, step(2), ignore_log); }),
                HasSubstr("shard-00001-of-00002.h5"));
    EXPECT_EQ(open_verified(host, run_.path(), ignore_log).state().step, 1);
  });
}

TEST(NoCheckpoint, IsAFreshStartForAResumeAndAnErrorForANamedPath) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    EXPECT_FALSE(open_newest(host, run.path() / "none", true, ignore_log));
    error_of(ErrorKind::kMissingInput, [&] { open_verified(host, run.path() / "none", ignore_log); });
  });
}

}  // namespace
}  // namespace retain::test
