#include "trainer/open_files.h"

#include <sys/fsuid.h>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/data/token_files.h"
#include "trainer/data/loader.h"

namespace retain {
namespace {

using testing::HasSubstr;

/// At most so many descriptors while it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t most) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit limit{most, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

int64_t descriptors() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST(OpenFiles, KeepsTheLastUsedOpenAndNoMoreThanItMay) {
  const TestFolder folder;
  for (const char* name : {"a", "b", "c"}) write_file(folder.file(name), name);
  OpenFiles files(2);
  const int64_t before = descriptors();
  const auto letter = [&](const char* name) {
    char c = 0;
    files.open(folder.file(name))->read(&c, 1, 0);
    return std::string(1, c);
  };
  for (int round = 0; round < 3; ++round) {
    for (const char* name : {"a", "b", "c"}) EXPECT_EQ(letter(name), name);
  }
  EXPECT_EQ(descriptors() - before, 2);
  const File* const c = files.open(folder.file("c")).get();
  letter("b");
  EXPECT_EQ(files.open(folder.file("c")).get(), c);  // "a" was closed longest ago
}

TEST(OpenFiles, AFileStaysReadableWhileSomebodyHasIt) {
  const TestFolder folder;
  for (const char* name : {"a", "b"}) write_file(folder.file(name), name);
  OpenFiles files(1);
  const auto a = files.open(folder.file("a"));
  files.open(folder.file("b"));
  char letter = 0;
  a->read(&letter, 1, 0);
  EXPECT_EQ(letter, 'a');
}

TEST(OpenFiles, RefusesAFileThatWasReplacedSinceItWasFirstOpened) {
  const TestFolder folder;
  for (const char* name : {"a", "b", "new"}) write_file(folder.file(name), "text");
  OpenFiles files(1);
  files.open(folder.file("a"));
  files.open(folder.file("b"));
  std::filesystem::rename(folder.file("new"), folder.file("a"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { files.open(folder.file("a")); }),
              HasSubstr("was written or replaced while it was in use"));
}

TEST(TrainLoader, ReadsFromMoreSetsThanAProcessMayHaveFilesOpen) {
  const TestFolder folder;
  DataConfig data;
  data.seq_len = 4;
  for (int32_t i = 0; i < 200; ++i) {
    const std::string path = folder.file(std::to_string(i));
    write_set(path, {std::vector<int32_t>(9, i)});
    data.train.push_back({path, 1});
  }
  TrainConfig train;
  train.batch_tokens = train.micro_batch_tokens = 200 * data.seq_len;
  const FewDescriptors limit(static_cast<rlim_t>(descriptors()) + 64);
  TrainLoader loader(data, train, 257, 1, {}, {});
  for (int64_t step = 0; step < 3; ++step) {
    const HostBatch batch = loader.load(step, 0);
    std::vector<int64_t> seen(200);
    for (const int32_t token : batch.token_ids) ++seen[static_cast<size_t>(token)];
    EXPECT_THAT(seen, testing::Each(4));
  }
}

TEST(OpenFiles, OneThatMayNotBeReadIsMissing) {
  const TestFolder folder;
  write_file(folder.file("a"), "a");
  std::filesystem::permissions(folder.file("a"), std::filesystem::perms::none);
  const int before = ::setfsuid(65534);  // root may read everything
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { OpenFiles().open(folder.file("a")); }),
              HasSubstr("Permission denied"));
  ::setfsuid(static_cast<uid_t>(before));
}

TEST(OpenFiles, ATooLowLimitIsNamedWithItsRemedy) {
  const TestFolder folder;
  write_file(folder.file("a"), "a");
  const FewDescriptors limit(0);
  EXPECT_THAT(message_of(ErrorKind::kIo, [&] { OpenFiles().open(folder.file("a")); }), HasSubstr("ulimit -n"));
}

}  // namespace
}  // namespace retain
