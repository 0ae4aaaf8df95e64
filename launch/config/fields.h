// The kinds of values in the table of launch/config/schema.cpp. Of each kind, read() gives the value of a node or
// reports why there is none, print() writes one, and range() tells people what is legal; each_path() visits the paths
// in it. Private to launch/config.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "launch/config/schema.h"
#include "launch/config/value.h"

namespace retain::schema {

constexpr int64_t kMostTokens = 1'000'000'000'000'000'000;  // leaves room for sums

/// Whole numbers from low to high; a `high` of kMostTokens or more is not worth telling. `zero_word` is how 0 is
/// written and also read ("auto"), or "".
struct Whole {
  int64_t low = 0, high = std::numeric_limits<int64_t>::max();
  std::string zero_word = {};
  std::string range() const;
  std::optional<int64_t> read(const ConfigNode& node, const ReportProblem& report) const;
  std::string print(int64_t x) const { return x == 0 && !zero_word.empty() ? zero_word : std::to_string(x); }
};

/// Real numbers from low to high, without an end that is open. `zero_word`: see Whole.
struct Real {
  double low = 0, high = std::numeric_limits<double>::max();
  bool low_open = false, high_open = false;
  std::string_view zero_word = {};
  std::string range() const;
  std::optional<double> read(const ConfigNode& node, const ReportProblem& report) const;
  std::string print(double x) const { return x == 0 && !zero_word.empty() ? std::string(zero_word) : print_real(x); }
};

constexpr Real kPositive = {.low_open = true};

struct TwoReals {
  Real each;
  std::string range() const { return each.range(); }
  std::optional<std::tuple<double, double>> read(const ConfigNode& node, const ReportProblem& report) const;
  static std::string print(const std::tuple<double, double>& pair);
};

struct Path {
  static std::string range() { return ""; }
  static std::optional<std::string> read(const ConfigNode& node, const ReportProblem& report);
  static void each_path(ConfigNode& node, const PathVisitor& visit) { visit(node); }
  static std::string print(const std::string& text) { return print_text(text); }
};

/// A path, or none.
struct OptionalPath : Path {
  static std::string range() { return "none or a path"; }
};

/// data.tokenizer: a path, or a word that is none.
struct TokenizerName : Path {
  static std::optional<std::string> read(const ConfigNode& node, const ReportProblem& report);
};

/// A map from names to paths; another one adds to it, an empty one empties it.
struct NamedPaths {
  using Paths = std::map<std::string, std::string>;
  static std::string range() { return ""; }
  static std::optional<Paths> read(const ConfigNode& node, const ReportProblem& report);
  static void each_path(ConfigNode& node, const PathVisitor& visit);
  static std::string print(const Paths& paths);
};

struct Sources {
  static std::string range() { return ""; }
  static std::optional<std::vector<DataSource>> read(const ConfigNode& node, const ReportProblem& report);
  static void each_path(ConfigNode& node, const PathVisitor& visit);
  static std::string print(const std::vector<DataSource>& sources);
};

/// data.end_of_document: a token, or one of two words.
struct EndOfDocument {
  static std::string range() { return "auto, none or a token"; }
  static std::optional<int64_t> read(const ConfigNode& node, const ReportProblem& report);
  static std::string print(int64_t x);
};

/// limits.hang_timeout: seconds, or one of two words.
struct HangTimeout {
  static constexpr int64_t kMostSeconds = 86'400;
  static std::string range() { return concat("auto, none or 1 to ", kMostSeconds); }
  static std::optional<int64_t> read(const ConfigNode& node, const ReportProblem& report);
  static std::string print(int64_t x);
};

/// The index of the word that stands there.
std::optional<size_t> read_word(const ConfigNode& node, const std::vector<std::string>& words,
                                const std::string& expected, const ReportProblem& report);

/// One of an enumeration's values, by its name.
template <class E>
struct Choice {
  Named<E> values;
  std::string range() const {
    std::string all;
    for (const auto& [name, value] : values) all += (all.empty() ? "" : ", ") + name;
    return all;
  }
  std::optional<E> read(const ConfigNode& node, const ReportProblem& report) const {
    const auto index = read_word(node, names_of(values), "one of " + range(), report);
    return index ? std::optional(values[*index].second) : std::nullopt;
  }
  std::string print(E wanted) const {
    for (const auto& [name, value] : values)
      if (value == wanted) return name;
    throw Error(ErrorKind::kInternal, "a value without a name among " + range());
  }
};

struct OnOff {
  static std::string range() { return ""; }
  static std::optional<bool> read(const ConfigNode& node, const ReportProblem& report) {
    const auto index = read_word(node, {"true", "false"}, "true or false", report);
    return index ? std::optional(*index == 0) : std::nullopt;
  }
  static std::string print(bool x) { return x ? "true" : "false"; }
};

/// A length of time of at least a second, in whole seconds: 3600, 90s, 30m, 1.5h, 2d; 0 is written "none".
struct Duration {
  static std::string range() { return "none or at least 1s; 1.5h"; }
  static std::optional<int64_t> read(const ConfigNode& node, const ReportProblem& report);
  static std::string print(int64_t x) { return x == 0 ? "none" : std::to_string(x); }
};

/// Puts a value that was read into its place.
template <class T, class V>
void assign(T&& place, const V& value) {
  using Placed = std::remove_reference_t<T>;
  place = static_cast<std::conditional_t<std::is_integral_v<Placed>, Placed, V>>(value);
}
inline void assign(NamedPaths::Paths& place, const NamedPaths::Paths& more) {
  if (more.empty()) place.clear();
  for (const auto& [name, path] : more) place[name] = path;
}

}  // namespace retain::schema
