#include "trainer/run/log.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "kernels/core/text.h"

namespace retain {
namespace {

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarn: return "warning";
    case LogLevel::kError: return "error";
  }
  return "error";
}

/// "2026-01-31 23:59:59.999 +0100 info: text"
std::string stamped(LogLevel level, const std::string& text) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::tm local = fmt::localtime(static_cast<std::time_t>(ms / 1000));
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03} {:%z} {}: {}\n", local, ms % 1000, local, name_of(level),
                     escape_lines(text));
}

/// Is there one terminal, file or pipe for both, which takes either or neither?
bool stdout_is_stderr() {
  struct stat out {};
  struct stat err {};
  return ::fstat(STDOUT_FILENO, &out) == 0 && ::fstat(STDERR_FILENO, &err) == 0 && out.st_dev == err.st_dev &&
         out.st_ino == err.st_ino;
}

/// Which of the two has a line at its bottom, if any: the terminal of stderr, where people are talked to, if there is
/// one.
int descriptor_of_bottom() { return ::isatty(STDERR_FILENO) == 1 ? STDERR_FILENO : STDOUT_FILENO; }

}  // namespace

Log::Log(const LogOptions& options)
    : first_(options.world_rank == 0),
      signature_(first_ ? "" : concat("rank ", options.world_rank, " host ", options.host, ": ")),
      directory_(options.directory),
      held_(options.held),
      bottom_descriptor_(descriptor_of_bottom()),
      err_([this](const ReportSink& sink, const std::string& text) {
        if (!closing_) say(LogLevel::kWarn, text, &sink);
      }),
      out_([this](const ReportSink& sink, const std::string& text) {
        if (!closing_) say(LogLevel::kWarn, text, &sink);
      }),
      files_([this](const ReportSink& sink, const std::string& text) { say(LogLevel::kWarn, text, &sink); }),
      errors_(stdout_is_stderr() ? out_ : err_),
      stdout_(out_.add(std::make_unique<StandardStream>("stdout", STDOUT_FILENO, bottom_under(STDOUT_FILENO)))),
      stderr_(errors_.add(std::make_unique<StandardStream>("stderr", STDERR_FILENO, bottom_under(STDERR_FILENO)))),
      bottom_(
          writer_of_bottom().add(std::make_unique<TerminalBottom>("the terminal", bottom_descriptor_, bottom_line_))) {
  if (!first_ || directory_.empty()) return;
  log_ = &append_to("log.txt");
  events_ = &append_to("events.jsonl");
}

Log::~Log() {
  flush(std::chrono::seconds{2});
  closing_ = true;  // what their threads find from here on has nowhere to go
}

void Log::say(LogLevel level, const std::string& text, const ReportSink* failing) {
  const std::string line = stamped(level, signature_ + text);
  if (failing != &stderr_) errors_.write(stderr_, line);
  if (log_ && failing != log_ && !hold(line)) files_.write(*log_, line);
}

bool Log::hold(const std::string& line) {
  const std::lock_guard lock(held_mutex_);
  if (held_) held_lines_.push_back(line);
  return held_;
}

void Log::release() {
  std::vector<std::string> lines;
  {
    const std::lock_guard lock(held_mutex_);
    held_ = false;
    lines.swap(held_lines_);
  }
  for (const std::string& line : lines)
    if (log_) files_.write(*log_, line);
}

const BottomLine* Log::bottom_under(int descriptor) const {
  return descriptor == bottom_descriptor_ || &errors_ == &out_ ? &bottom_line_ : nullptr;
}

int Log::columns_at_bottom() const {
  // Where stdout is a pipe, its lines may come to the same terminal by way of another program, which keeps no bottom.
  struct stat out = {};
  if (bottom_descriptor_ != STDOUT_FILENO && ::fstat(STDOUT_FILENO, &out) == 0 && S_ISFIFO(out.st_mode)) return 0;
  return columns_of_terminal(bottom_descriptor_);
}

ReportWriter& Log::writer_of_bottom() { return bottom_descriptor_ == STDERR_FILENO ? errors_ : out_; }

void Log::show_at_bottom(const std::string& text) {
  if (!ending_) writer_of_bottom().write(bottom_, text);
}

void Log::say_end(const std::string& line, std::chrono::milliseconds patience) {
  if (!ending_.exchange(true)) writer_of_bottom().write(bottom_, "");
  errors_.write(stderr_, line + "\n");
  errors_.flush(patience);
}

void Log::record_end(const std::string& line) {
  if (directory_.empty()) return;
  if (!log_) {
    log_ = &append_to("log.txt");
    events_ = &append_to("events.jsonl");
  }
  files_.write(*log_, stamped(LogLevel::kError, line));
}

void Log::print(const std::string& line) { out_.write(stdout_, line + "\n"); }

void Log::event(int64_t step, const std::string& kind, const std::map<std::string, std::string>& values) {
  if (!events_) return;
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  nlohmann::ordered_json json = {{"time", now.count()}, {"step", step}, {"event", kind}};
  for (const auto& [name, value] : values) json[name] = value;
  files_.write(*events_, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

ReportSink& Log::append_to(const std::string& name, const std::string& opening, AppendedFile::Records records) {
  ReportSink& sink = files_.add(std::make_unique<AppendedFile>(name, Path(directory_) / name, opening, records));
  sinks_[name] = &sink;
  return sink;
}

void Log::replace(const std::string& name, const std::string& text) {
  ReportSink*& sink = sinks_[name];
  if (!sink) sink = &files_.add(std::make_unique<ReplacedFile>(name, Path(directory_) / name));
  files_.write(*sink, text);
}

bool Log::flush(std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + patience;
  bool all = true;
  // A file that fails is told of on the terminal, and the other way round.
  for (ReportWriter* const writer : {&files_, &out_, &err_, &files_}) {
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    all = writer->flush(std::max(rest, std::chrono::milliseconds{0})) && all;
  }
  return all;
}

bool Log::all_written() {
  // What is said here waits to be written too: all are looked at before.
  const std::string unread = out_.losses(stdout_);
  std::vector<std::pair<const ReportSink*, std::string>> lost;
  for (const auto& [name, sink] : sinks_) lost.emplace_back(sink, files_.losses(*sink));
  std::erase_if(lost, [](const auto& entry) { return entry.second.empty(); });
  for (const auto& [sink, losses] : lost) say(LogLevel::kError, concat(sink->name(), ": ", losses), sink);
  if (!unread.empty()) say(LogLevel::kWarn, concat(stdout_.name(), ": ", unread), &stdout_);
  return lost.empty();
}

}  // namespace retain
