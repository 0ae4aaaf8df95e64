// Reports on files that fail: nothing ends, nothing is torn, what is lost is counted and told.
#include "trainer/run/report_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <latch>
#include <mutex>
#include <vector>

#include "tests/trainer/data/token_files.h"

namespace retain::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What a writer says of its sinks.
class Notices {
 public:
  ReportWriter::Notice take() {
    return [this](const ReportSink&, const std::string& text) {
      const std::scoped_lock lock(mutex_);
      texts_.push_back(text);
    };
  }
  std::vector<std::string> texts() {
    const std::scoped_lock lock(mutex_);
    return texts_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

/// Takes what it is told to take.
class Disk final : public ReportSink {
 public:
  Disk() : ReportSink("metrics.jsonl") {}
  void write(std::string_view record) override {
    if (full) throw Error(ErrorKind::kIo, "write metrics.jsonl: No space left on device");
    text += record;
  }
  std::atomic<bool> full = false;
  std::string text;
};

template <class Sink>
Sink& add(ReportWriter& writer, std::unique_ptr<Sink> sink) {
  return static_cast<Sink&>(writer.add(std::move(sink)));
}

TEST(ReportWriter, TellsOfAnOutageOnceAndOfItsEndWithWhatIsLost) {
  Notices notices;
  ReportWriter writer(notices.take());
  Disk& disk = add(writer, std::make_unique<Disk>());
  const auto write = [&](const std::string& record) {
    writer.write(disk, record);
    EXPECT_TRUE(writer.flush(seconds{60}));
  };
  write("1\n");
  disk.full = true;
  for (const char* const record : {"2\n", "3\n", "4\n"}) write(record);
  disk.full = false;
  for (const char* const record : {"5\n", "6\n"}) write(record);
  EXPECT_EQ(disk.text, "1\n5\n6\n");
  EXPECT_THAT(notices.texts(),
              ElementsAre(HasSubstr("metrics.jsonl cannot be written: write metrics.jsonl: No space left on device"),
                          "metrics.jsonl is written again; 3 records are lost"));
  EXPECT_EQ(writer.losses(disk), "3 records are lost (write metrics.jsonl: No space left on device)");
}

TEST(ReportWriter, IsNotDrownedByADiskThatFailsNowAndThen) {
  Notices notices;
  ReportWriter writer(notices.take());
  Disk& disk = add(writer, std::make_unique<Disk>());
  for (int i = 0; i < 2000; ++i) {
    disk.full = i % 2 == 0;
    writer.write(disk, "x\n");
    ASSERT_TRUE(writer.flush(seconds{60}));
  }
  EXPECT_EQ(notices.texts().size(), 2 * 10u);  // of outages 1, 2, 4 … 512
  EXPECT_THAT(writer.losses(disk), HasSubstr("1000 records are lost"));
}

/// Takes nothing until it is let go.
class Stuck final : public ReportSink {
 public:
  Stuck() : ReportSink("stuck") {}
  void write(std::string_view record) override {
    go.wait();
    bytes += record.size();
  }
  std::latch go{1};
  size_t bytes = 0;
};

TEST(ReportWriter, NobodyWaitsForADiskThatHangs) {
  Notices notices;
  ReportWriter writer(notices.take(), 1000);
  Stuck& stuck = add(writer, std::make_unique<Stuck>());
  for (int i = 0; i < 20; ++i) writer.write(stuck, std::string(100, 'x'));
  EXPECT_FALSE(writer.flush(milliseconds{1}));
  EXPECT_THAT(notices.texts(), ElementsAre(HasSubstr("stuck cannot be written: it is too slow")));
  EXPECT_THAT(writer.losses(stuck), HasSubstr("20 records are lost"));  // some of them still wait
  stuck.go.count_down();
  EXPECT_TRUE(writer.flush(seconds{60}));
  writer.write(stuck, "y");
  EXPECT_TRUE(writer.flush(seconds{60}));
  EXPECT_EQ(stuck.bytes, 1001u);
  EXPECT_THAT(writer.losses(stuck), HasSubstr("10 records are lost (it is too slow"));
}

TEST(AppendedFile, BeginsOnAFreshLineWhateverACrashLeft) {
  const TestFolder folder;
  const auto append_to = [&](const std::string& before) {
    write_file(folder.file("a"), before);
    AppendedFile("a", folder.file("a")).write("{\"step\":3}\n");
    return read_file(folder.file("a"));
  };
  EXPECT_EQ(append_to(""), "{\"step\":3}\n");
  EXPECT_EQ(append_to("{\"step\":1}\n"), "{\"step\":1}\n{\"step\":3}\n");
  EXPECT_EQ(append_to("{\"step\":1}\n{\"st"), "{\"step\":1}\n{\"step\":3}\n");
  EXPECT_EQ(append_to("{\"step\":1}\n{\"step\":2}"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
  EXPECT_EQ(append_to("{\"st"), "{\"step\":3}\n");
  EXPECT_EQ(append_to("{\"step\":1}\n" + std::string(10000, 'x')), "{\"step\":1}\n{\"step\":3}\n");
}

TEST(AppendedFile, IsMadeAgainWhenSomebodyRemovesIt) {
  const TestFolder folder;
  AppendedFile file("a", folder.file("a"), "opening\n");
  file.write("1\n");
  std::filesystem::remove(folder.file("a"));
  file.write("2\n");
  file.write("3\n");
  EXPECT_EQ(read_file(folder.file("a")), "opening\n2\n3\n");
}

/// What a server that forgot an open file does to `path`: its descriptor is good for nothing any more.
void lose_descriptor(const std::string& path) {
  for (int descriptor = 3; descriptor < 1024; ++descriptor) {
    std::error_code none;
    if (std::filesystem::read_symlink(concat("/proc/self/fd/", descriptor), none) != path) continue;
    ::close(descriptor);
    return;
  }
  FAIL() << path << " is not open";
}

TEST(AppendedFile, GoesOnWhereTheDescriptorIsLost) {
  const TestFolder folder;
  for (const auto records : {AppendedFile::Records::kLines, AppendedFile::Records::kBytes}) {
    const int lower =
        ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // what is opened next takes its place, not the lost one's
    AppendedFile file("a", folder.file("a"), "opening\n", records);
    file.write("1\n");
    lose_descriptor(folder.file("a"));
    ::close(lower);
    file.write("2\n");
    EXPECT_EQ(read_file(folder.file("a")), "opening\n1\n2\n");
    std::filesystem::remove(folder.file("a"));
  }
}

TEST(AppendedFile, CutsNothingFromAFileOfBytes) {
  const TestFolder folder;
  write_file(folder.file("a"), "x\nyz");
  AppendedFile("a", folder.file("a"), "", AppendedFile::Records::kBytes).write("1");
  EXPECT_EQ(read_file(folder.file("a")), "x\nyz1");
}

/// Files of this process may not become larger.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(AppendedFile, HoldsNoHalfARecordWhereTheDiskTookHalf) {
  const TestFolder folder;
  AppendedFile file("a", folder.file("a"), "opening\n");
  {
    const FileSizeLimit limit(6);
    EXPECT_THAT(message_of(ErrorKind::kIo, [&] { file.write("1\n"); }), HasSubstr("/a: File too large"));
    EXPECT_EQ(read_file(folder.file("a")), "");
  }
  file.write("2\n");
  {
    const FileSizeLimit limit(13);
    EXPECT_THAT(message_of(ErrorKind::kIo, [&] { file.write("33333\n"); }), HasSubstr("/a: File too large"));
    EXPECT_EQ(read_file(folder.file("a")), "opening\n2\n");
  }
  file.write("4\n");
  EXPECT_EQ(read_file(folder.file("a")), "opening\n2\n4\n");
}

}  // namespace
}  // namespace retain::test
