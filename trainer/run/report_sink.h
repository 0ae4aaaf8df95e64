// Where reports of a run go: files of its directory, stdout, stderr. A record is written whole: what a failing disk
// took of it is cut off again, so that no reader meets half a line. Used by the thread of a ReportWriter alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "trainer/file.h"
#include "trainer/run/bottom_line.h"

namespace retain {

class ReportSink {
 public:
  explicit ReportSink(std::string name) : name_(std::move(name)) {}
  virtual ~ReportSink() = default;
  ReportSink(const ReportSink&) = delete;
  ReportSink& operator=(const ReportSink&) = delete;

  const std::string& name() const { return name_; }  ///< as messages name it
  /// All of the record, or Error(kIo, kCannotCreate) with the call and the reason.
  virtual void write(std::string_view record) = 0;
  /// Makes durable what was written. Throws Error(kIo).
  virtual void sync() {}

 private:
  std::string name_;
};

/// Records at the end of a file, which the first one opens; the next one opens it again when somebody has removed it or
/// its descriptor has become useless. What a crash left of a last line is removed from files of lines.
class AppendedFile final : public ReportSink {
 public:
  enum class Records : uint8_t { kLines, kBytes };

  /// The first record has `opening` before it, and so has the first one in a file that was made again.
  AppendedFile(std::string name, Path path, std::string opening = {}, Records records = Records::kLines);

  void write(std::string_view record) override;
  void sync() override;

 private:
  void open();

  Path path_;
  std::string opening_;
  Records records_;
  File file_;
  bool opened_ = false;        ///< at some time
  int64_t cut_at_bytes_ = -1;  ///< where half a record begins that could not be cut off yet; -1: there is none
  bool torn_ = false;          ///< the last line there lacks its end: the next record begins on a line of its own
  std::string before_;         ///< what comes before the next record
};

/// A small file that each record replaces, durably.
class ReplacedFile final : public ReportSink {
 public:
  ReplacedFile(std::string name, Path path) : ReportSink(std::move(name)), path_(std::move(path)) {}
  void write(std::string_view record) override { replace_file(path_, record); }

 private:
  Path path_;
};

/// stdout or stderr.
class StandardStream final : public ReportSink {
 public:
  /// `bottom`: of the terminal that this is; it outlives the stream.
  StandardStream(std::string name, int descriptor, const BottomLine* bottom = nullptr)
      : ReportSink(std::move(name)), descriptor_(descriptor), bottom_(bottom) {}
  void write(std::string_view record) override;

 private:
  int descriptor_;
  const BottomLine* bottom_;
  bool torn_ = false;  ///< half a line is out: the next one begins on a line of its own
};

/// Each record is the line at the bottom of a terminal instead of the one before; an empty one removes it.
class TerminalBottom final : public ReportSink {
 public:
  TerminalBottom(std::string name, int descriptor, BottomLine& bottom)
      : ReportSink(std::move(name)), descriptor_(descriptor), bottom_(bottom) {}
  void write(std::string_view record) override;

 private:
  int descriptor_;
  BottomLine& bottom_;
};

}  // namespace retain
