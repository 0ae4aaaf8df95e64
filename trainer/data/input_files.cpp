#include "trainer/data/input_files.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/core/text.h"

namespace retain {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostNamed = 8;  // of what is left out
constexpr std::string_view kPatterns = "*?[{";
constexpr std::string_view kAnyFolders = "**";

std::string extension_of(const std::string& path) {
  std::string extension = fs::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension;
}

/// Why a file of this name would become tokens without being text.
std::optional<Error> why_unusable(const std::string& path, const std::optional<std::string>& text_key) {
  const std::string extension = extension_of(path);
  const auto refuse = [&](const char* why) { return Error(ErrorKind::kData, concat(path, why)); };
  for (const char* const compressed : {".gz", ".zst", ".xz", ".bz2", ".zip"}) {
    if (extension == compressed)
      return refuse(
          ": is compressed; unpack it, also into a pipe: zcat FILE.jsonl.gz | retain data prepare - --text-key text");
  }
  if (extension == ".parquet") {
    return refuse(
        ": is Parquet, which Retain does not read: no system that it runs on packages a library for that; make JSONL "
        "of "
        "it, also into a pipe: python3 -c 'import pandas, sys; pandas.read_parquet(sys.argv[1]).to_json(sys.stdout, "
        "orient=\"records\", lines=True)' FILE.parquet | retain data prepare - --text-key text");
  }
  if (extension == ".json" && !text_key)
    return refuse(
        ": is it JSONL, a document a line? --text-key KEY says so, and where each line's object has its text");
  return std::nullopt;
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// The entries of a folder by name, without hidden ones unless `hidden`.
std::vector<fs::path> entries_of(const fs::path& folder, bool hidden) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (hidden || !is_hidden(entry->path())) entries.push_back(folder / entry->path().filename());
  }
  if (error) throw Error(ErrorKind::kIo, concat(folder.string(), ": cannot read the folder: ", error.message()));
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool is_real_folder(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_directory(path, unreadable) && !fs::is_symlink(path, unreadable);
}

/// All files below a folder.
void add_files_below(const fs::path& folder, std::vector<std::string>& files) {
  std::error_code unreadable;
  for (const fs::path& entry : entries_of(folder, false)) {
    if (fs::is_symlink(entry, unreadable)) continue;
    if (fs::is_directory(entry, unreadable)) add_files_below(entry, files);
    if (fs::is_regular_file(entry, unreadable)) files.push_back(entry.string());
  }
}

/// "a{b,c}d" as "abd" and "acd".
std::vector<std::string> without_braces(const std::string& pattern) {
  const size_t open = pattern.find('{');
  int depth = 0;
  std::vector<size_t> cuts;
  for (size_t i = open; i < pattern.size(); ++i) {
    depth += pattern[i] == '{' ? 1 : pattern[i] == '}' ? -1 : 0;
    if (depth == 1 && (pattern[i] == '{' || pattern[i] == ',')) cuts.push_back(i);
    if (depth != 0) continue;
    cuts.push_back(i);
    break;
  }
  if (open == std::string::npos || depth != 0) return {pattern};
  std::vector<std::string> all;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const std::string choice = pattern.substr(cuts[i] + 1, cuts[i + 1] - cuts[i] - 1);
    for (std::string& one : without_braces(pattern.substr(0, open) + choice + pattern.substr(cuts.back() + 1)))
      all.push_back(std::move(one));
  }
  return all;
}

using Names = std::vector<std::string>;

/// What matches the names of a pattern from number `at` on, in or below `folder`.
void add_matches(const fs::path& folder, const Names& names, size_t at, Names& files) {
  const std::string& name = names[at];
  const bool last = at + 1 == names.size();
  if (name == kAnyFolders) {
    if (last) return add_files_below(folder, files);
    add_matches(folder, names, at + 1, files);
    for (const fs::path& entry : entries_of(folder, false))
      if (is_real_folder(entry)) add_matches(entry, names, at, files);
    return;
  }
  std::error_code unreadable;
  for (const fs::path& entry : entries_of(folder, true)) {
    if (::fnmatch(name.c_str(), entry.filename().c_str(), FNM_PERIOD) != 0) continue;
    const bool is_folder = fs::is_directory(entry, unreadable);
    if (!last && is_folder) add_matches(entry, names, at + 1, files);
    if (last && is_folder) add_files_below(entry, files);
    if (last && fs::is_regular_file(entry, unreadable)) files.push_back(entry.string());
  }
}

Names files_of_pattern(const std::string& pattern) {
  Names files;
  for (const std::string& plain : without_braces(pattern)) {
    fs::path folder;  // up to the first name that is none
    Names names, more;
    for (const fs::path& name : fs::path(plain)) {
      const bool fixed = names.empty() && name.string().find_first_of(kPatterns) == std::string::npos;
      if (fixed) folder /= name;
      if (!fixed && !name.empty()) names.push_back(name.string());
    }
    std::error_code unreadable;
    if (names.empty()) {  // braces alone
      if (fs::is_directory(folder, unreadable)) add_files_below(folder, more);
      if (fs::is_regular_file(folder, unreadable)) more.push_back(folder.string());
    } else if (folder.empty() || fs::is_directory(folder, unreadable)) {
      add_matches(folder, names, 0, more);
    }
    std::sort(more.begin(), more.end());
    more.erase(std::unique(more.begin(), more.end()), more.end());
    files.insert(files.end(), more.begin(), more.end());
  }
  if (files.empty()) throw Error(ErrorKind::kMissingInput, concat(in_quotes(pattern), ": no files match this pattern"));
  return files;
}

InputFile look_at(const std::string& path, const std::optional<std::string>& text_key) {
  const std::string extension = extension_of(path);
  InputFile input{.path = path, .json_lines = text_key || extension == ".jsonl" || extension == ".ndjson"};
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    throw Error(ErrorKind::kMissingInput,
                concat(path, errno == ENOENT ? ": there is no such file" : ": cannot be looked at"));
  input.bytes = info.st_size;
  input.written_ns = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  input.unusable = why_unusable(path, text_key);
  return input;
}

}  // namespace

void LeftOut::add(const std::string& what) {
  if (first.size() < kMostNamed) first.push_back(what);
  ++count;
}

std::vector<InputFile> list_inputs(std::span<const std::string> inputs, const std::optional<std::string>& text_key) {
  std::vector<InputFile> all;
  for (const std::string& input : inputs) {
    std::error_code unreadable;
    Names files;
    if (input == "-") {
      all.push_back({.path = input, .json_lines = text_key.has_value()});
    } else if (fs::is_directory(input, unreadable)) {
      add_files_below(input, files);
      if (files.empty()) throw Error(ErrorKind::kMissingInput, concat(input, ": the folder holds no files"));
    } else if (fs::exists(input, unreadable) || input.find_first_of(kPatterns) == std::string::npos) {
      all.push_back(look_at(input, text_key));
      if (all.back().unusable) throw Error(*all.back().unusable);
    } else {
      files = files_of_pattern(input);
    }
    for (const std::string& file : files) {
      all.push_back(look_at(file, text_key));
      all.back().found = true;
    }
  }
  return all;
}

}  // namespace retain
