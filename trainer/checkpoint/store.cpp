#include "trainer/checkpoint/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace retain {

namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr size_t kNonceBytes = 16;

bool is_real_directory(const std::filesystem::directory_entry& entry) {
  std::error_code error;
  return std::filesystem::is_directory(entry.symlink_status(error)) && !error;
}

// Is it ".KIND-step-N.NONCE"?
bool is_set_aside(const std::string& name, const std::string& kind) {
  const std::string prefix = "." + kind + "-";
  if (!name.starts_with(prefix) || name.size() < prefix.size() + 1 + kNonceBytes) return false;
  const size_t dot = name.size() - kNonceBytes - 1;
  const std::string nonce = name.substr(dot + 1);
  return name[dot] == '.' && parse_step_name(name.substr(prefix.size(), dot - prefix.size())) &&
         nonce.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Entries of the directory; nothing if there is no directory of that name.
std::vector<std::filesystem::directory_entry> entries_of(const Path& directory) {
  std::vector<std::filesystem::directory_entry> entries;
  std::error_code error;
  std::filesystem::directory_iterator it(directory, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) return entries;
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) entries.push_back(*it);
  if (error) throw Error(ErrorKind::kIo, concat("list ", directory.string(), ": ", error.message()));
  return entries;
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
  std::vector<StepEntry> steps;
  for (const auto& entry : entries_of(checkpoints)) {
    const std::optional<int64_t> step = parse_step_name(entry.path().filename());
    if (step && is_real_directory(entry)) steps.push_back({*step, entry.path()});
  }
  std::sort(steps.begin(), steps.end(), [](const StepEntry& a, const StepEntry& b) { return a.step > b.step; });
  return steps;
}

std::vector<Path> list_damaged(const Path& checkpoints) {
  std::vector<Path> damaged;
  for (const auto& entry : entries_of(checkpoints)) {
    if (is_set_aside(entry.path().filename(), "bad")) damaged.push_back(entry.path());
  }
  std::sort(damaged.begin(), damaged.end());
  return damaged;
}

Manifest read_manifest(const Path& step_directory) {
  const Path path = step_directory / kManifestFileName;
  try {
    return parse_manifest(read_text(File::open(path), kManifestLimitBytes));
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kIo) throw;
    const bool named = std::string_view(e.what()).find(path.string()) != std::string_view::npos;
    throw Error(ErrorKind::kData, named ? e.what() : concat(path.string(), ": ", e.what()));
  }
}

std::string find_obvious_damage(const Path& step_directory) {
  try {
    const Manifest manifest = read_manifest(step_directory);
    std::vector<const FileRecord*> files{&manifest.view};
    for (const ShardRecord& shard : manifest.shards) files.push_back(&shard.file);
    for (const FileRecord* file : files) {
      const int64_t bytes = File::open(step_directory / file->name).bytes();
      if (bytes != file->bytes) {
        return concat((step_directory / file->name).string(), " has ", bytes, " bytes, want ", file->bytes);
      }
    }
    return {};
  } catch (const Error& e) {
    return e.what();
  }
}

Path create_temporary(const Path& checkpoints, int64_t step) {
  std::error_code error;
  std::filesystem::create_directories(checkpoints, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat("create ", checkpoints.string(), ": ", error.message()));
  const Path temporary = checkpoints / concat(".tmp-", step_name(step), ".", make_nonce());
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
  if (error != EEXIST && error != ENOTEMPTY) throw_errno(ErrorKind::kIo, "rename to", committed, error);
  // At no instant may the step be absent: exchange, then delete what has become temporary.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, committed.c_str(), RENAME_EXCHANGE) != 0) {
    throw_errno(ErrorKind::kIo, concat("exchange ", temporary.string(), " with"), committed, errno);
  }
  sync_directory(checkpoints);
  delete_debris(temporary);
  return committed;
}

void write_latest(const Path& checkpoints, int64_t step) {
  replace_file(checkpoints / "latest", step_name(step) + "\n");
}

Path set_aside(const Path& step_directory, const std::string& kind) {
  const Path aside =
      step_directory.parent_path() / concat(".", kind, "-", step_directory.filename().string(), ".", make_nonce());
  rename_durably(step_directory, aside);
  return aside;
}

void set_aside_newer(const Path& checkpoints, int64_t step) {
  for (const StepEntry& entry : list_steps(checkpoints)) {
    if (entry.step > step) set_aside(entry.path, "old");
  }
}

void delete_step(const Path& step_directory) { delete_debris(set_aside(step_directory, "trash")); }

void delete_debris(const Path& directory) {
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
    if (is_real_directory(entry) && (is_set_aside(name, "tmp") || is_set_aside(name, "trash")))
      delete_debris(entry.path());
    // What a killed replacement of `latest` left.
    if (name.starts_with("latest.new.") && name.size() == std::string_view("latest.new.").size() + kNonceBytes) {
      ::unlink(entry.path().c_str());
    }
  }
}

std::vector<int64_t> steps_to_delete(const Retention& retention, const std::vector<RetentionCandidate>& newest_first) {
  std::vector<RetentionCandidate> by_loss;
  for (const RetentionCandidate& c : newest_first) {
    if (c.whole && std::isfinite(c.valid_loss)) by_loss.push_back(c);
  }
  std::stable_sort(by_loss.begin(), by_loss.end(), [](const RetentionCandidate& a, const RetentionCandidate& b) {
    return a.valid_loss < b.valid_loss;
  });
  by_loss.resize(std::min(by_loss.size(), static_cast<size_t>(std::max(retention.keep_best, 0))));

  const int keep = std::max(retention.keep, 2);  // one is no fallback
  int kept = 0;
  std::vector<int64_t> deleted;
  for (const RetentionCandidate& c : newest_first) {
    if (kept < keep) {
      kept += c.whole ? 1 : 0;
      continue;
    }
    const bool for_ever = retention.keep_every > 0 && c.step % retention.keep_every == 0;
    const bool best =
        std::any_of(by_loss.begin(), by_loss.end(), [&](const RetentionCandidate& b) { return b.step == c.step; });
    if (!for_ever && !best) deleted.push_back(c.step);
  }
  return deleted;
}

void apply_retention(const Path& checkpoints, const Retention& retention) {
  std::vector<RetentionCandidate> candidates;
  for (const StepEntry& entry : list_steps(checkpoints)) {
    RetentionCandidate candidate{entry.step, find_obvious_damage(entry.path).empty(), std::nan("")};
    if (candidate.whole && retention.keep_best > 0) candidate.valid_loss = read_manifest(entry.path).state.valid_loss;
    candidates.push_back(candidate);
  }
  for (const int64_t step : steps_to_delete(retention, candidates)) delete_step(checkpoints / step_name(step));
}

}  // namespace retain
