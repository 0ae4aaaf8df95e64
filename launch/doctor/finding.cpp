#include "launch/doctor/finding.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace retain::checkup {

namespace {

constexpr size_t kMostListed = 8;  // ranges, or machines

std::string number_text(double number) {
  return std::abs(number) >= 100 ? fmt::format("{:.0f}", number) : fmt::format("{:.3g}", number);
}

/// The values, those that most have first.
std::vector<std::pair<std::string, std::vector<int>>> by_frequency(const ByRank<std::string>& values) {
  std::map<std::string, std::vector<int>> ranks;
  for (const auto& [rank, value] : values) ranks[value].push_back(rank);
  std::vector<std::pair<std::string, std::vector<int>>> sorted(ranks.begin(), ranks.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size() : a.second < b.second;
  });
  return sorted;
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass: return "PASS";
    case Verdict::kWarn: return "WARN";
    case Verdict::kFail: return "FAIL";
  }
  return "";
}

std::map<std::string, std::vector<int>> Hosts::machines() const {
  std::map<std::string, std::vector<int>> machines;
  for (int rank = 0; rank < ranks(); ++rank) machines[of(rank)].push_back(rank);
  return machines;
}

std::string Hosts::describe(const std::vector<int>& ranks) const {
  if (static_cast<int>(ranks.size()) == this->ranks() && ranks.size() > 1)
    return fmt::format("all {} ranks", ranks.size());
  std::vector<std::string> names;
  for (const int rank : ranks) {
    if (std::find(names.begin(), names.end(), of(rank)) == names.end()) names.push_back(of(rank));
  }
  std::string text = fmt::format("rank{} {} on ", ranks.size() == 1 ? "" : "s", ranges(ranks));
  for (size_t i = 0; i < names.size() && i < kMostListed; ++i) text += (i > 0 ? ", " : "") + names[i];
  return names.size() > kMostListed ? text + fmt::format(" and {} more", names.size() - kMostListed) : text;
}

std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  size_t count = 0;
  for (size_t begin = 0, end = 0; begin < numbers.size(); begin = end, ++count) {
    for (end = begin + 1; end < numbers.size() && numbers[end] == numbers[end - 1] + 1;) ++end;
    if (count == kMostListed) return text + ", …";
    text += (count > 0 ? ", " : "") + std::to_string(numbers[begin]);
    if (end - begin > 1) text += (end - begin == 2 ? ", " : "-") + std::to_string(numbers[end - 1]);
  }
  return text;
}

std::string describe_values(const ByRank<std::string>& values, const Hosts& hosts) {
  const auto sorted = by_frequency(values);
  if (sorted.empty()) return "unknown";
  if (sorted.size() == 1 && static_cast<int>(values.size()) == hosts.ranks()) return sorted[0].first;
  std::string text;
  for (size_t i = 0; i < sorted.size() && i < kMostListed; ++i)
    text += fmt::format("{}{} on {}", i > 0 ? "; " : "", sorted[i].first, hosts.describe(sorted[i].second));
  return sorted.size() > kMostListed ? text + "; …" : text;
}

std::vector<int> odd_ranks(const ByRank<std::string>& values) {
  std::vector<int> odd;
  const auto sorted = by_frequency(values);
  for (size_t i = 1; i < sorted.size(); ++i) odd.insert(odd.end(), sorted[i].second.begin(), sorted[i].second.end());
  std::sort(odd.begin(), odd.end());
  return odd;
}

std::string describe_range(const ByRank<double>& values, const std::string& unit) {
  if (values.empty()) return "unknown";
  const auto by_value = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto [low, high] = std::minmax_element(values.begin(), values.end(), by_value);
  const std::string least = number_text(low->second), most = number_text(high->second);
  return least == most ? fmt::format("{} {}", least, unit) : fmt::format("{} to {} {}", least, most, unit);
}

double median_of(const ByRank<double>& values) {
  std::vector<double> sorted;
  for (const auto& [rank, value] : values) sorted.push_back(value);
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  if (sorted.empty()) return 0;
  return sorted.size() % 2 == 1 ? sorted[middle] : std::midpoint(sorted[middle - 1], sorted[middle]);
}

void Check::amiss(int rank, Verdict verdict, const std::string& what, const std::string& fix, double number,
                  const std::string& unit) {
  Thing& thing = things_[{verdict, what, fix}];
  thing.ranks.push_back(rank);
  if (std::isfinite(number)) thing.numbers[rank] = number;
  thing.unit = unit;
}

Findings Check::findings(const Hosts& hosts, const std::string& value) const {
  Findings findings;
  for (const auto& [key, thing] : things_) {
    const auto& [verdict, what, fix] = key;
    const std::string number =
        thing.numbers.empty() ? "" : fmt::format(" ({})", describe_range(thing.numbers, thing.unit));
    findings.push_back(
        {verdict, group_, check_, fmt::format("{}{}: {}", what, number, hosts.describe(thing.ranks)), fix});
  }
  if (findings.empty()) findings.push_back({Verdict::kPass, group_, check_, value});
  return findings;
}

}  // namespace retain::checkup
