#include "trainer/checkpoint/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <thread>

namespace retain {

namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr size_t kNonceBytes = 16;
constexpr const char* kLatest = "latest";
constexpr int64_t kLatestLimitBytes = 4096;

// Nothing needs to be told apart in less time than a client of a network file system takes to forget.
constexpr std::chrono::seconds kSecondLook{1};

using FileType = std::filesystem::file_type;

// What there is of that name, or what a link leads to. Throws Error(kIo): not to know is not to find nothing.
FileType type_of(const Path& path, bool through_links) {
  std::error_code error;
  const auto status =
      through_links ? std::filesystem::status(path, error) : std::filesystem::symlink_status(path, error);
  if (status.type() == FileType::not_found) return FileType::not_found;
  if (through_links && error == std::errc::too_many_symbolic_link_levels) return FileType::not_found;  // in a circle
  if (error) throw Error(ErrorKind::kIo, concat("look at ", path.string(), ": ", error.message()));
  return status.type();
}

bool is_link(const Path& path) { return type_of(path, false) == FileType::symlink; }

std::string describe_link(const Path& path) {
  std::error_code error;
  return concat(path.string(), " is a symbolic link to ", std::filesystem::read_symlink(path, error).string());
}

// ".KIND-step-N.NONCE"
std::string aside_name(const std::string& kind, int64_t step) {
  return concat(".", kind, "-", step_name(step), ".", make_nonce());
}

// The step in such a name.
std::optional<int64_t> parse_aside_name(const std::string& name, const std::string& kind) {
  const std::string prefix = "." + kind + "-";
  if (!name.starts_with(prefix) || name.size() < prefix.size() + 1 + kNonceBytes) return std::nullopt;
  const size_t dot = name.size() - kNonceBytes - 1;
  if (name[dot] != '.' || name.find_first_not_of("0123456789abcdef", dot + 1) != std::string::npos) return std::nullopt;
  return parse_step_name(name.substr(prefix.size(), dot - prefix.size()));
}

// Entries of the directory; nothing if there is no directory of that name.
std::vector<std::filesystem::directory_entry> entries_of(const Path& directory) {
  std::vector<std::filesystem::directory_entry> entries;
  std::error_code error;
  std::filesystem::directory_iterator it(directory, error);
  const bool none = error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
  if (none && type_of(directory, true) != FileType::directory) return entries;
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) entries.push_back(*it);
  if (error) throw Error(ErrorKind::kIo, concat("list ", directory.string(), ": ", error.message()));
  return entries;
}

// A folder, or a link to one or to nothing. What the list says of the entry is believed, so that a folder whose status
// cannot be had is not overlooked.
bool is_step_folder(const std::filesystem::directory_entry& entry) {
  std::error_code error;
  if (entry.is_symlink(error)) {
    const FileType target = type_of(entry.path(), true);
    return target == FileType::directory || target == FileType::not_found;
  }
  const bool folder = entry.is_directory(error);
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ErrorKind::kIo, concat("look at ", entry.path().string(), ": ", error.message()));
  }
  return folder;
}

bool is_our_file(const std::string& name) {
  return name == kManifestFileName || name == kViewFileName || (name.starts_with("shard-") && name.ends_with(".h5"));
}

}  // namespace

Path checkpoints_directory(const Path& run_directory) { return run_directory / "checkpoints"; }

std::string step_name(int64_t step) {
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), "step-%08lld", static_cast<long long>(step));
  return name.data();
}

std::optional<int64_t> parse_step_name(const std::string& name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc{} || step < 0 || name != step_name(step)) return std::nullopt;
  return step;
}

std::vector<StepEntry> list_steps(const Path& checkpoints) {
  refuse_dangling_link(checkpoints);
  std::vector<StepEntry> steps;
  for (const auto& entry : entries_of(checkpoints)) {
    const std::optional<int64_t> step = parse_step_name(entry.path().filename());
    if (step && is_step_folder(entry)) steps.push_back({*step, entry.path()});
  }
  std::sort(steps.begin(), steps.end(), [](const StepEntry& a, const StepEntry& b) { return a.step > b.step; });
  return steps;
}

std::optional<int64_t> read_latest(const Path& checkpoints) {
  try {
    const std::string text = read_text(File::open(checkpoints / kLatest), kLatestLimitBytes);
    return parse_step_name(text.substr(0, text.find('\n')));
  } catch (const Error& e) {
    if (!means_damage(e)) throw;
    return std::nullopt;
  }
}

std::vector<SetAsideStep> list_set_aside(const Path& checkpoints) {
  std::vector<SetAsideStep> aside;
  for (const auto& entry : entries_of(checkpoints)) {
    for (const char* kind : {kFoundDamaged, kOfAnOlderFuture}) {
      const std::optional<int64_t> step = parse_aside_name(entry.path().filename(), kind);
      if (step) aside.push_back({kind, *step, entry.path()});
    }
  }
  std::sort(aside.begin(), aside.end(), [](const SetAsideStep& a, const SetAsideStep& b) {
    return a.step != b.step ? a.step > b.step : a.path < b.path;
  });
  return aside;
}

bool is_gone(const Path& path) { return type_of(path, false) == FileType::not_found; }

std::string find_dangling_link(const Path& path) {
  if (!is_link(path) || type_of(path, true) != FileType::not_found) return {};
  return describe_link(path) + ", where nothing is";
}

void refuse_dangling_link(const Path& path) {
  Path part;
  for (const Path& name : path) {
    part /= name;
    const std::string dangling = find_dangling_link(part);
    if (!dangling.empty()) throw Error(ErrorKind::kData, dangling + "; bring that back, or remove the link");
  }
}

bool means_damage(const Error& error) {
  return error.kind() == ErrorKind::kData || error.kind() == ErrorKind::kMissingInput;
}

File open_step_file(const Path& path) {
  try {
    return File::open(path);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kMissingInput) throw;
  }
  const Path folder = path.parent_path();
  refuse_dangling_link(folder);
  std::this_thread::sleep_for(kSecondLook);
  const auto listed = entries_of(folder);  // which also makes a client ask its server anew
  try {
    return File::open(path);
  } catch (const Error& e) {
    const bool there =
        std::any_of(listed.begin(), listed.end(), [&](const auto& entry) { return entry.path() == path; });
    if (e.kind() != ErrorKind::kMissingInput || !there) throw;
    throw Error(ErrorKind::kIo, concat(e.what(), ", although its folder lists it"));
  }
}

Manifest read_manifest(const Path& step_directory) {
  const Path path = step_directory / kManifestFileName;
  try {
    const File file = open_step_file(path);
    try {
      return parse_manifest(read_text(file, kManifestLimitBytes));
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kData) throw;
    }
    // A second look, past the page cache, before a step is given up.
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    return parse_manifest(read_text(file, kManifestLimitBytes));
  } catch (const Error& e) {
    if (!means_damage(e)) throw;
    const bool named = std::string_view(e.what()).find(step_directory.string()) != std::string_view::npos;
    throw Error(ErrorKind::kData, named ? e.what() : concat(path.string(), ": ", e.what()));
  }
}

const char* condition_name(StepCondition condition) {
  switch (condition) {
    case StepCondition::kWhole: return "whole";
    case StepCondition::kDamaged: return "damaged";
    case StepCondition::kUnknown: return "unknown";
  }
  return "";
}

StepVerdict judge_step(const Path& step_directory, Depth depth) {
  StepVerdict verdict;
  try {
    verdict.reason = find_dangling_link(step_directory);
    if (!verdict.reason.empty()) {
      verdict.condition = StepCondition::kUnknown;
      return verdict;
    }
    const Manifest manifest = read_manifest(step_directory);
    verdict.valid_loss = manifest.state.valid_loss;
    if (depth == Depth::kManifest) return verdict;
    std::vector<const FileRecord*> files{&manifest.view};
    for (const ShardRecord& shard : manifest.shards) files.push_back(&shard.file);
    for (const FileRecord* record : files) {
      const File file = open_step_file(step_directory / record->name);
      if (file.bytes() == record->bytes) continue;
      throw Error(ErrorKind::kData,
                  concat(file.path().string(), " has ", file.bytes(), " bytes, want ", record->bytes));
    }
  } catch (const Error& e) {
    verdict.condition = means_damage(e) ? StepCondition::kDamaged : StepCondition::kUnknown;
    verdict.reason = e.what();
  }
  return verdict;
}

void refuse_link(const Path& checkpoints) {
  if (!is_link(checkpoints)) return;
  throw Error(ErrorKind::kCannotCreate,
              concat(describe_link(checkpoints), find_dangling_link(checkpoints).empty() ? "" : ", where nothing is",
                     ": a run reads checkpoints through a link but does not write through one; name the folder there "
                     "as run.dir, or put a folder in place of the link"));
}

Path create_temporary(const Path& checkpoints, int64_t step) {
  refuse_link(checkpoints);
  std::error_code error;
  std::filesystem::create_directories(checkpoints, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat("create ", checkpoints.string(), ": ", error.message()));
  const Path temporary = checkpoints / aside_name("tmp", step);
  if (::mkdir(temporary.c_str(), 0777) != 0) throw_errno(ErrorKind::kCannotCreate, "create", temporary, errno);
  sync_directory(checkpoints);
  return temporary;
}

Path commit_temporary(const Path& temporary, int64_t step) {
  const Path checkpoints = temporary.parent_path();
  const Path committed = checkpoints / step_name(step);
  sync_directory(temporary);
  if (::rename(temporary.c_str(), committed.c_str()) == 0) {
    sync_directory(checkpoints);
    return committed;
  }
  const int error = errno;
  const bool taken = error == EEXIST || error == ENOTEMPTY || error == ENOTDIR;  // the last by a link
  if (!taken) throw_errno(ErrorKind::kIo, "rename to", committed, error);
  // At no instant may the step be absent: exchange, then delete what has become temporary.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, committed.c_str(), RENAME_EXCHANGE) != 0) {
    throw_errno(ErrorKind::kIo, concat("exchange ", temporary.string(), " with"), committed, errno);
  }
  sync_directory(checkpoints);
  delete_debris(temporary);
  return committed;
}

void write_latest(const Path& checkpoints, int64_t step) {
  replace_file(checkpoints / kLatest, step_name(step) + "\n");
}

Path set_aside(const Path& step_directory, const std::string& kind) {
  const std::optional<int64_t> step = parse_step_name(step_directory.filename());
  RETAIN_CHECK(step, step_directory.string(), " is no step");
  const Path aside = step_directory.parent_path() / aside_name(kind, *step);
  rename_durably(step_directory, aside);
  return aside;
}

void set_aside_newer(const Path& checkpoints, int64_t step) {
  for (const StepEntry& entry : list_steps(checkpoints)) {
    if (entry.step > step) set_aside(entry.path, kOfAnOlderFuture);
  }
  const std::optional<int64_t> named = read_latest(checkpoints);
  if (!named || !is_gone(checkpoints / step_name(*named))) return;
  if (::unlink((checkpoints / kLatest).c_str()) != 0)
    throw_errno(ErrorKind::kIo, "delete", checkpoints / kLatest, errno);
  sync_directory(checkpoints);
}

void delete_step(const Path& step_directory) {
  const std::string name = step_directory.filename();
  std::optional<int64_t> step = parse_step_name(name);
  for (const char* kind : {kFoundDamaged, kOfAnOlderFuture}) {
    if (!step) step = parse_aside_name(name, kind);
  }
  RETAIN_CHECK(step, step_directory.string(), " is no step");
  const Path trash = step_directory.parent_path() / aside_name("trash", *step);
  rename_durably(step_directory, trash);
  delete_debris(trash);
}

void delete_debris(const Path& directory) {
  if (is_link(directory)) {
    if (::unlink(directory.c_str()) != 0) throw_errno(ErrorKind::kIo, "delete", directory, errno);
    return;
  }
  for (const auto& entry : entries_of(directory)) {
    if (is_our_file(entry.path().filename()) && ::unlink(entry.path().c_str()) != 0 && errno != ENOENT) {
      throw_errno(ErrorKind::kIo, "delete", entry.path(), errno);
    }
  }
  // A directory that also holds files of others stays.
  if (::rmdir(directory.c_str()) != 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT) {
    throw_errno(ErrorKind::kIo, "delete", directory, errno);
  }
}

void delete_all_debris(const Path& checkpoints, const Path& except) {
  for (const auto& entry : entries_of(checkpoints)) {
    const std::string name = entry.path().filename();
    if (entry.path() == except) continue;
    if (parse_aside_name(name, "tmp") || parse_aside_name(name, "trash")) delete_debris(entry.path());
    // What a killed replacement of `latest` left.
    if (name.starts_with("latest.new.") && name.size() == std::string_view("latest.new.").size() + kNonceBytes) {
      ::unlink(entry.path().c_str());
    }
  }
}

}  // namespace retain
