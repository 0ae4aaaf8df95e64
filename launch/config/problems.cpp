#include "launch/config/problems.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/config/reader.h"
#include "launch/config/suggest.h"

namespace retain {
namespace {

constexpr size_t kMostPrinted = 50;

/// Line `number` (from 1) of the text, without its end.
std::string_view line_of(std::string_view text, int number) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  for (int i = 1; i < number; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

/// The line as it can be printed, character by character; tabs become blanks.
std::vector<std::string> printable(std::string_view line) {
  std::vector<std::string> out;
  for (size_t i = 0; i < line.size();) {
    size_t end = i + 1;
    while (end < line.size() && (line[end] & 0xc0) == 0x80) ++end;
    const std::string_view character = line.substr(i, end - i);
    out.push_back(character == "\t" ? " " : escape_controls(character));
    i = end;
  }
  return out;
}

/// The source line and a caret under the column, indented by four; of a long line the part around the column.
std::string excerpt(std::string_view text, const Origin& at, const std::string& hint) {
  constexpr size_t kWidth = 100, kBefore = 60;
  const std::vector<std::string> line = printable(line_of(text, at.line));
  const size_t caret = static_cast<size_t>(std::max(at.column - 1, 0));
  size_t begin = 0;
  while (begin < line.size() && begin < caret && line[begin] == " ") ++begin;
  if (line.size() > begin + kWidth && caret > begin + kBefore) begin = caret - kBefore;
  const size_t end = std::min(line.size(), begin + kWidth);
  std::string shown, blanks;
  for (size_t i = begin; i < end; ++i) shown += line[i];
  for (size_t i = begin; i < std::min(caret, end); ++i)
    blanks.append(static_cast<size_t>(count_characters(line[i])), ' ');
  if (shown.empty() && hint.empty()) return "";
  return "    " + shown + "\n    " + blanks + "^" + (hint.empty() ? "" : " " + hint) + "\n";
}

std::string_view text_of(const Origin& at, const ConfigSources& sources, const std::vector<std::string>& sets) {
  if (at.kind == Origin::Kind::kFile) return sources.files.at(static_cast<size_t>(at.index)).text;
  if (at.kind == Origin::Kind::kSet) return sets.at(static_cast<size_t>(at.index - 1));
  return {};
}

auto sort_key(const ReadProblem& p) { return std::tie(p.at.kind, p.at.index, p.at.line, p.at.column); }

bool calls(const Field& field, const std::string& name) {
  return std::find(field.other_names.begin(), field.other_names.end(), name) != field.other_names.end();
}

}  // namespace

std::string describe(const Origin& at, const ConfigSources& sources) {
  const std::string root = sources.files.empty() ? "configuration" : sources.files[0].name;
  switch (at.kind) {
    case Origin::Kind::kFile:
      return concat(escape_controls(sources.files.at(static_cast<size_t>(at.index)).name), ":", at.line, ":",
                    at.column);
    case Origin::Kind::kSet: return concat("--set ", at.index);
    default: return escape_controls(root);
  }
}

std::string describe(std::vector<ReadProblem> problems, const ConfigSources& sources,
                     const std::vector<std::string>& sets) {
  std::stable_sort(problems.begin(), problems.end(),
                   [](const ReadProblem& a, const ReadProblem& b) { return sort_key(a) < sort_key(b); });
  // A file that is taken in twice reports its problems twice.
  problems.erase(
      std::unique(problems.begin(), problems.end(),
                  [](const ReadProblem& a, const ReadProblem& b) { return a.at == b.at && a.message == b.message; }),
      problems.end());
  std::string out;
  for (size_t i = 0; i < std::min(problems.size(), kMostPrinted); ++i) {
    const ReadProblem& problem = problems[i];
    out += describe(problem.at, sources) + ": " + problem.message + "\n";
    if (problem.at.kind != Origin::Kind::kDefault)
      out += excerpt(text_of(problem.at, sources, sets), problem.at, problem.hint);
  }
  if (problems.size() > kMostPrinted) out += concat("… and ", problems.size() - kMostPrinted, " more\n");
  return out + concat(problems.size(), problems.size() == 1 ? " error" : " errors", "; nothing was started.");
}

std::string suggest_key(const std::vector<Field>& fields, const std::string& section, const std::string& name) {
  const auto find = [&](const auto& matches) {
    const auto found = std::find_if(fields.begin(), fields.end(), matches);
    return found == fields.end() ? "" : found->path;
  };
  const auto nearest = [&](bool everywhere) {
    const auto considered = [&](const Field& f) { return everywhere || f.section() == section; };
    std::vector<std::string> names;
    for (const Field& field : fields)
      if (considered(field)) names.push_back(field.name());
    const std::string word = nearest_word(name, names);
    return find([&](const Field& f) { return considered(f) && f.name() == word; });
  };
  std::string found = find([&](const Field& f) { return f.section() == section && calls(f, name); });
  if (found.empty()) found = find([&](const Field& f) { return f.name() == name; });
  if (found.empty()) found = nearest(false);
  if (found.empty()) found = find([&](const Field& f) { return calls(f, name); });
  return found.empty() ? nearest(true) : found;
}

}  // namespace retain
