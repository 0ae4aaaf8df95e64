#include "launch/config/suggest.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>

namespace retain {

namespace fs = std::filesystem;

int edit_distance(const std::string& a, const std::string& b) {
  // Three rows of the usual table; a swap of neighbours looks two rows back.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

namespace {

/// What others call some of our words, where the nearest spelling would be another's.
const std::map<std::string, std::string>& other_names() {
  static const std::map<std::string, std::string> names = {
      {"gpu", "cuda"},  {"nvidia", "cuda"},  {"bfloat16", "bf16"}, {"float16", "bf16"}, {"fp16", "bf16"},
      {"half", "bf16"}, {"float32", "fp32"}, {"float64", "fp64"},  {"double", "fp64"},  {"yes", "true"},
      {"on", "true"},   {"no", "false"},     {"off", "false"}};
  return names;
}

bool is_yaml(const fs::path& path) { return path.extension() == ".yaml" || path.extension() == ".yml"; }

/// The file of this name, with ".yaml" or ".yml" behind it or in place of the other; empty when there is none.
fs::path with_an_ending(const fs::path& path) {
  std::vector<fs::path> candidates = {path};
  for (const char* ending : {".yaml", ".yml"}) {
    candidates.push_back(path.string() + ending);
    if (is_yaml(path)) candidates.push_back(fs::path(path).replace_extension(ending));
  }
  std::error_code error;
  for (const fs::path& candidate : candidates)
    if (fs::is_regular_file(candidate, error)) return candidate;
  return {};
}

/// configs/ of the working directory and of the folders above it; that of the tree that built this program, or that was
/// installed with it.
std::vector<fs::path> folders_of_configurations() {
  std::error_code error;
  std::vector<fs::path> folders;
  for (fs::path above = fs::current_path(error); !error; above = above.parent_path()) {
    folders.push_back(above / "configs");
    if (above == above.parent_path()) break;
  }
  const fs::path programs = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"../../../configs", "../share/retain/configs"})
    folders.push_back((programs / place).lexically_normal());
  return folders;
}

}  // namespace

std::string nearest_word(const std::string& asked, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // longer words are no typing mistakes of ours
  std::string word = asked;
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (word.size() < 2 || word.size() > kLongest) return "";
  const auto other = other_names().find(word);
  if (other != other_names().end() &&
      std::find(candidates.begin(), candidates.end(), other->second) != candidates.end())
    return other->second;
  int best = std::max<int>(1, static_cast<int>(word.size()) / 3) + 1;
  std::string found;
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      found = candidate;
    }
  }
  return found;
}

std::string nearest_file(const std::string& name) {
  const fs::path wanted(name);
  std::error_code error;
  if (const fs::path found = with_an_ending(wanted); !found.empty()) return found.string();
  for (const fs::path& folder : folders_of_configurations())
    if (const fs::path found = with_an_ending(folder / wanted.filename()); !found.empty())
      return found.lexically_proximate(fs::current_path(error)).string();
  std::vector<std::string> beside;
  const fs::path folder = wanted.parent_path();
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, error), end; !error && entry != end;
       entry.increment(error))
    if (is_yaml(entry->path())) beside.push_back(entry->path().filename().string());
  std::sort(beside.begin(), beside.end());
  const std::string nearest = nearest_word(wanted.filename().string(), beside);
  return nearest.empty() ? "" : (folder / nearest).string();
}

std::string did_you_mean(const std::string& nearest) {
  return nearest.empty() ? "" : "did you mean '" + nearest + "'?";
}

}  // namespace retain
