// Findings as tests look at them.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/finding.h"

namespace retain::test {

/// Of the check of that name: "PASS value", "WARN value" …, in order.
inline std::vector<std::string> lines_of(const checkup::Findings& findings, const std::string& check) {
  std::vector<std::string> lines;
  for (const checkup::Finding& finding : findings) {
    if (finding.check != check) continue;
    lines.push_back(std::string(verdict_name(finding.verdict)) + " " + finding.value);
    const bool helps = finding.verdict == checkup::Verdict::kPass ? finding.fix.empty() : !finding.fix.empty();
    if (!helps) lines.back() += " (PASS with a fix, or the others without)";
  }
  return lines;
}

/// The only one, or what is there instead.
inline std::string line_of(const checkup::Findings& findings, const std::string& check) {
  const std::vector<std::string> lines = lines_of(findings, check);
  return lines.size() == 1 ? lines[0] : std::to_string(lines.size()) + " lines";
}

/// n ranks on machines of two.
inline checkup::Hosts pairs_of_ranks(int n) {
  std::vector<std::string> names;
  for (int rank = 0; rank < n; ++rank) names.push_back("gpu" + std::to_string(rank / 2));
  return checkup::Hosts(names);
}

template <class Facts>
checkup::ByRank<Facts> on_ranks(int n, const Facts& facts) {
  checkup::ByRank<Facts> ranks;
  for (int rank = 0; rank < n; ++rank) ranks[rank] = facts;
  return ranks;
}

}  // namespace retain::test
