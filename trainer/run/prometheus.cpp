#include "trainer/run/prometheus.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace retain {

namespace {

std::string metric_name(std::string name) {
  const auto is_known = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  std::ranges::replace_if(
      name, [&](char c) { return !is_known(c); }, '_');
  return "retain_" + name;
}

std::string label_value(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  return std::isinf(value) ? (value > 0 ? "+Inf" : "-Inf") : fmt::format("{}", value);
}

}  // namespace

std::string prometheus_text(const std::string& run, const std::map<std::string, double>& values) {
  const std::string label = label_value(run);
  std::string text;
  for (const auto& [name, value] : values) {
    const std::string metric = metric_name(name);
    text += fmt::format("# TYPE {} gauge\n{}{{run=\"{}\"}} {}\n", metric, metric, label, number(value));
  }
  return text;
}

}  // namespace retain
