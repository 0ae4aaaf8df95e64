#include "trainer/run/run_directory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "parallel/agreement.h"
#include "trainer/checkpoint/store.h"
#include "trainer/file.h"

namespace retain {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kEventsLimitBytes = int64_t{1} << 30;

}  // namespace

void RunDirectory::create() const {
  for (const std::string& folder : {path_, file("ranks"), file("tensorboard")}) {
    const Outcome led = attempt([&] { refuse_dangling_link(folder); });
    if (!led.ok) throw Error(ErrorKind::kCannotCreate, fmt::format("cannot create {}: {}", folder, led.message));
  }
  std::error_code error;
  fs::create_directories(path_, error);
  if (error || !fs::is_directory(path_)) {
    throw Error(ErrorKind::kCannotCreate,
                fmt::format("cannot create the run directory {}: {}; choose another with --set run.dir=PATH", path_,
                            error ? error.message() : "there is a file of that name"));
  }
  for (const char* const folder : {"ranks", "tensorboard"}) {
    fs::create_directories(file(folder), error);
    if (error)
      throw Error(ErrorKind::kCannotCreate, fmt::format("cannot create {}: {}", file(folder), error.message()));
  }
  const std::string probe = file(".write-test");
  std::ofstream out(probe);
  out << "retain\n";
  out.close();
  if (!out)
    throw Error(ErrorKind::kCannotCreate,
                fmt::format("cannot write in the run directory {}: {}", path_, std::strerror(errno)));
  fs::remove(probe, error);
}

void RunDirectory::write(const std::string& name, const std::string& text) const { replace_file(file(name), text); }

std::optional<int64_t> RunDirectory::newest_saved_event() const {
  const std::string path = file("events.jsonl");
  if (is_gone(path)) return std::nullopt;
  std::istringstream events(read_text(File::open_input(path), kEventsLimitBytes));
  std::optional<int64_t> saved;
  for (std::string line; std::getline(events, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);  // a crash may have torn it
    if (!json.is_object() || !json.contains("event") || !json.contains("step")) continue;
    if (json["event"] == "start") saved.reset();
    if (json["event"] == "resume" && json["step"].is_number_integer() && saved > json["step"].get<int64_t>()) {
      // What was newer was set aside; where it went on from another run's step, nothing of its own need be left.
      const bool own = json.contains("from") && json["from"].is_string() && holds(json["from"].get<std::string>());
      saved.reset();
      if (own) saved = json["step"].get<int64_t>();
    }
    if (json["event"] == "checkpoint" && json["step"].is_number_integer()) saved = json["step"].get<int64_t>();
  }
  return saved;
}

void RunDirectory::refuse_lost_checkpoints() const {
  std::string records;
  const auto add = [&](const std::string& name, const std::string& says) {
    records += concat("\n  ", file(name), " ", says);
  };
  if (const auto step = read_latest(checkpoints())) add("checkpoints/latest", "names " + step_name(*step));
  if (const auto step = newest_saved_event()) add("events.jsonl", concat("says that step ", *step, " was saved"));
  if (!is_gone(file("DONE"))) add("DONE", "says that the run came to its end");
  for (const SetAsideStep& aside : list_set_aside(checkpoints()))
    if (aside.kind == kFoundDamaged) add("checkpoints/" + aside.path.filename().string(), "was found damaged");
  if (records.empty()) return;
  throw Error(ErrorKind::kData,
              concat("there is no checkpoint in ", checkpoints(), ", and there was:", records,
                     "\nbring them back (is a disk not mounted? were they purged?), or begin anew with "
                     "--resume never or in another run.dir"));
}

bool RunDirectory::holds(const std::string& path) const {
  std::error_code error;
  const fs::path mine = fs::weakly_canonical(path_, error), other = fs::weakly_canonical(path, error);
  return !error && std::mismatch(mine.begin(), mine.end(), other.begin(), other.end()).first == mine.end();
}

bool RunDirectory::has(const std::string& name) const {
  std::error_code error;
  return fs::exists(file(name), error);
}

void RunDirectory::remove(const std::string& name) const {
  std::error_code error;
  fs::remove(file(name), error);
}

std::vector<std::string> RunDirectory::last_lines(const std::string& name) const {
  constexpr int64_t kTailBytes = 64 << 10;
  std::string text;
  const Outcome read = attempt([&] {
    const File in = File::open_input(file(name));
    text.resize(static_cast<size_t>(std::min(in.bytes(), kTailBytes)));
    in.read(text.data(), static_cast<int64_t>(text.size()), in.bytes() - static_cast<int64_t>(text.size()));
  });
  std::vector<std::string> lines;
  std::istringstream rest(read.ok ? text : "");
  for (std::string line; std::getline(rest, line);) lines.push_back(line);
  return lines;
}

}  // namespace retain
