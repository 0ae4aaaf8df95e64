#include "launch/config/fields.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "kernels/core/text.h"
#include "launch/config/suggest.h"

namespace retain::schema {
namespace {

using Kind = ConfigNode::Kind;

/// Reports what was expected instead of this node; what was refused before is left alone.
std::nullopt_t refuse(const ConfigNode& node, const std::string& expected, const std::string& got,
                      const ReportProblem& report, const std::string& hint = "") {
  if (node.kind != Kind::kRefused) report(node.at, concat(expected, ", got ", got), hint);
  return std::nullopt;
}

/// The text of a plain (not quoted) scalar.
std::optional<std::string> read_plain(const ConfigNode& node, const std::string& expected,
                                      const ReportProblem& report) {
  if (node.kind == Kind::kScalar && !node.quoted) return node.text;
  return refuse(node, "expected " + expected, describe(node), report, node.quoted ? "write it without quotes" : "");
}

std::optional<std::string> read_text(const ConfigNode& node, const std::string& expected, const ReportProblem& report) {
  const auto is_control = [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; };
  if (node.kind != Kind::kScalar || node.text.empty()) return refuse(node, expected, describe(node), report);
  if (std::any_of(node.text.begin(), node.text.end(), is_control))
    return refuse(node, expected + " without control characters", describe(node), report);
  return node.text;
}

std::optional<DataSource> read_source(const ConfigNode& node, const ReportProblem& report) {
  if (node.kind != Kind::kMap) return refuse(node, "expected {path: …, weight: …}", describe(node), report);
  std::optional<std::string> path;
  std::optional<double> weight = DataSource{}.weight;
  bool good = true;
  for (const ConfigNode& item : node.items) {
    if (item.key == "path") {
      path = Path::read(item, report);
      good = good && path;
    } else if (item.key == "weight") {
      weight = kPositive.read(item, report);
      good = good && weight;
    } else {
      ConfigNode key = item;
      key.at = item.key_at;
      const std::string nearest = nearest_word(item.key, {"path", "weight"});
      refuse(key, "expected the keys path and weight", in_quotes(item.key), report, did_you_mean(nearest));
      good = false;
    }
  }
  if (good && !path) report(node.at, "has no path", "");
  return good && path ? std::optional(DataSource{*path, *weight}) : std::nullopt;
}

}  // namespace

std::string Whole::range() const {
  return concat(zero_word, zero_word.empty() ? "" : " or ",
                high >= kMostTokens ? concat("at least ", low) : concat(low, " to ", high));
}

std::optional<int64_t> Whole::read(const ConfigNode& node, const ReportProblem& report) const {
  const auto text = read_plain(node, "a whole number", report);
  if (!text) return std::nullopt;
  if (!zero_word.empty() && *text == zero_word) return 0;
  std::string problem;
  const auto value = parse_whole(*text, problem);
  if (!value) return refuse(node, problem + (zero_word.empty() ? "" : ", or " + zero_word), describe(node), report);
  if (*value > high && high >= kMostTokens) return refuse(node, concat("expected at most ", high), *text, report);
  if (*value < low || *value > high) return refuse(node, "expected " + range(), *text, report);
  return value;
}

std::string Real::range() const {
  const std::string word = concat(zero_word, zero_word.empty() ? "" : " or ");
  if (high == std::numeric_limits<double>::max()) return concat(word, low_open ? "above " : "at least ", low);
  return concat(word, "in ", low_open ? "(" : "[", low, ", ", high, high_open ? ")" : "]");
}

std::optional<double> Real::read(const ConfigNode& node, const ReportProblem& report) const {
  const auto text = read_plain(node, "a number", report);
  if (!text) return std::nullopt;
  if (!zero_word.empty() && *text == zero_word) return 0;
  std::string problem;
  const auto value = parse_real(*text, problem);
  if (!value) return refuse(node, concat(problem, zero_word.empty() ? "" : ", or ", zero_word), describe(node), report);
  const bool holds = (low_open ? *value > low : *value >= low) && (high_open ? *value < high : *value <= high);
  return holds ? value
               : refuse(node, (zero_word.empty() ? "expected a number " : "expected ") + range(), *text, report);
}

std::optional<std::tuple<double, double>> TwoReals::read(const ConfigNode& node, const ReportProblem& report) const {
  const bool list = node.kind == Kind::kSequence;
  if (!list || node.items.size() != 2)
    return refuse(node, "expected a list of two numbers such as [0.9, 0.98]",
                  list ? concat("a list of ", node.items.size()) : describe(node), report);
  const auto first = each.read(node.items[0], report), second = each.read(node.items[1], report);
  return first && second ? std::optional(std::tuple(*first, *second)) : std::nullopt;
}

std::string TwoReals::print(const std::tuple<double, double>& pair) {
  return "[" + print_real(std::get<0>(pair)) + ", " + print_real(std::get<1>(pair)) + "]";
}

std::optional<size_t> read_word(const ConfigNode& node, const std::vector<std::string>& words,
                                const std::string& expected, const ReportProblem& report) {
  const auto text = read_plain(node, expected, report);
  if (!text) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), *text);
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  return refuse(node, "expected " + expected, describe(node), report, did_you_mean(nearest_word(*text, words)));
}

std::optional<std::string> Path::read(const ConfigNode& node, const ReportProblem& report) {
  return read_text(node, "expected a path", report);
}

std::optional<std::string> TokenizerName::read(const ConfigNode& node, const ReportProblem& report) {
  return read_text(node, "expected bytes, or the path of a tokenizer's folder or file", report);
}

std::optional<NamedPaths::Paths> NamedPaths::read(const ConfigNode& node, const ReportProblem& report) {
  if (node.kind != Kind::kMap) return refuse(node, "expected a map such as {book: data/book}", describe(node), report);
  Paths paths;
  for (const ConfigNode& item : node.items)
    if (const auto path = Path::read(item, report)) paths[item.key] = *path;
  return paths.size() == node.items.size() ? std::optional(paths) : std::nullopt;
}

void NamedPaths::each_path(ConfigNode& node, const PathVisitor& visit) {
  for (ConfigNode& item : node.items) visit(item);
}

std::string NamedPaths::print(const Paths& paths) {
  std::string out;
  for (const auto& [name, path] : paths) out += (out.empty() ? "" : ", ") + print_text(name) + ": " + print_text(path);
  return "{" + out + "}";
}

std::optional<std::vector<DataSource>> Sources::read(const ConfigNode& node, const ReportProblem& report) {
  if (node.kind != Kind::kSequence)
    return refuse(node, "expected a list such as [{path: data/train, weight: 1}]", describe(node), report);
  std::vector<DataSource> sources;
  for (const ConfigNode& item : node.items)
    if (const auto source = read_source(item, report)) sources.push_back(*source);
  return sources.size() == node.items.size() ? std::optional(sources) : std::nullopt;
}

void Sources::each_path(ConfigNode& node, const PathVisitor& visit) {
  for (ConfigNode& source : node.items)
    for (ConfigNode& item : source.items)
      if (item.key == "path") visit(item);
}

std::string Sources::print(const std::vector<DataSource>& sources) {
  std::string out;
  for (const DataSource& source : sources)
    out += (out.empty() ? "{path: " : ", {path: ") + print_text(source.path) +
           ", weight: " + print_real(source.weight) + "}";
  return "[" + out + "]";
}

std::optional<int64_t> Duration::read(const ConfigNode& node, const ReportProblem& report) {
  constexpr std::string_view kUnits = "smhd";
  constexpr std::array<int64_t, 4> kSeconds = {1, 60, 3600, 86'400};
  constexpr double kLongest = 1e12;
  const auto text = read_plain(node, "a length of time", report);
  if (!text) return std::nullopt;
  if (*text == "none") return 0;
  const size_t unit = text->empty() ? kUnits.npos : kUnits.find(text->back());
  std::string problem;
  const auto number = parse_real(text->substr(0, text->size() - (unit == kUnits.npos ? 0 : 1)), problem);
  const double seconds = number.value_or(0) * static_cast<double>(unit == kUnits.npos ? 1 : kSeconds.at(unit));
  if (seconds >= 1 && seconds < kLongest) return std::llround(seconds);
  return refuse(node, "expected none or a time of at least a second such as 3600, 90s, 30m, 1.5h or 2d", describe(node),
                report);
}

std::optional<int64_t> EndOfDocument::read(const ConfigNode& node, const ReportProblem& report) {
  constexpr int64_t kLargestToken = 2'147'483'646;
  const auto text = read_plain(node, range(), report);
  if (!text) return std::nullopt;
  if (*text == "auto") return kEndOfDocumentAuto;
  if (*text == "none") return kEndOfDocumentNone;
  std::string problem;
  const auto token = parse_whole(*text, problem);
  if (token && *token >= 0 && *token <= kLargestToken) return token;
  return refuse(node, concat("expected auto, none or a token, a whole number from 0 to ", kLargestToken),
                describe(node), report, did_you_mean(nearest_word(*text, {"auto", "none"})));
}

std::string EndOfDocument::print(int64_t x) {
  return x == kEndOfDocumentAuto ? "auto" : x == kEndOfDocumentNone ? "none" : std::to_string(x);
}

std::optional<int64_t> HangTimeout::read(const ConfigNode& node, const ReportProblem& report) {
  const auto text = read_plain(node, range(), report);
  if (!text) return std::nullopt;
  if (*text == "auto") return kHangTimeoutAuto;
  if (*text == "none") return kHangTimeoutNone;
  std::string problem;
  const auto value = parse_whole(*text, problem);
  if (value && *value >= 1 && *value <= kMostSeconds) return value;
  return refuse(node, "expected " + range(), describe(node), report,
                did_you_mean(nearest_word(*text, {"auto", "none"})));
}

std::string HangTimeout::print(int64_t x) {
  return x == kHangTimeoutAuto ? "auto" : x == kHangTimeoutNone ? "none" : std::to_string(x);
}

}  // namespace retain::schema
