#include "launch/doctor/printer.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace retain::checkup {

namespace {

std::string number_of(int number, const char* what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

}  // namespace

int count(const Findings& findings, Verdict verdict) {
  return static_cast<int>(std::count_if(findings.begin(), findings.end(),
                                        [&](const Finding& finding) { return finding.verdict == verdict; }));
}

std::string to_text(const Findings& findings, const Hosts& hosts) {
  const auto machines = hosts.machines();
  std::string text = fmt::format("{} on {}:", number_of(hosts.ranks(), "rank"),
                                 number_of(static_cast<int>(machines.size()), "machine"));
  constexpr size_t kMostListed = 16;
  size_t listed = 0;
  for (const auto& [host, ranks] : machines) {
    if (listed++ == kMostListed) break;
    text += fmt::format(" {} ({})", host, ranges(ranks));
  }
  text += machines.size() > kMostListed ? " …\n" : "\n";
  size_t group_width = 0, check_width = 0;
  for (const Finding& finding : findings) {
    group_width = std::max(group_width, finding.group.size());
    check_width = std::max(check_width, finding.check.size());
  }
  for (const Finding& finding : findings) {
    text += fmt::format("{}  {:<{}}  {:<{}}  {}\n", verdict_name(finding.verdict), finding.group, group_width,
                        finding.check, check_width, finding.value);
    if (!finding.fix.empty()) text += fmt::format("{:<{}}-> {}\n", "", 10 + group_width + check_width, finding.fix);
  }
  return text + fmt::format("{} passed, {}, {}\n", count(findings, Verdict::kPass),
                            number_of(count(findings, Verdict::kWarn), "warning"),
                            number_of(count(findings, Verdict::kFail), "failure"));
}

std::string to_json(const Findings& findings, const Hosts& hosts) {
  nlohmann::ordered_json json = {{"schema", 1}, {"ranks", hosts.ranks()}};
  json["machines"] = nlohmann::ordered_json::array();
  for (const auto& [host, ranks] : hosts.machines()) json["machines"].push_back({{"host", host}, {"ranks", ranks}});
  json["findings"] = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    nlohmann::ordered_json line = {{"verdict", verdict_name(finding.verdict)},
                                   {"group", finding.group},
                                   {"check", finding.check},
                                   {"value", finding.value}};
    if (!finding.fix.empty()) line["fix"] = finding.fix;
    json["findings"].push_back(std::move(line));
  }
  json["passed"] = count(findings, Verdict::kPass);
  json["warnings"] = count(findings, Verdict::kWarn);
  json["failures"] = count(findings, Verdict::kFail);
  return json.dump(2) + "\n";
}

}  // namespace retain::checkup
