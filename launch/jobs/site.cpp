#include "launch/jobs/site.h"

#include <algorithm>
#include <cstdint>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/config/problems.h"
#include "launch/config/reader.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"
#include "launch/config/yaml.h"
#include "launch/jobs/shell.h"
#include "trainer/file.h"

namespace retain {
namespace {

using Kind = ConfigNode::Kind;

constexpr int64_t kLargestSite = int64_t{1} << 16;  // bytes

class SiteReader {
 public:
  SiteReader(const std::string& name, const std::string& text) {
    sources_.files.push_back({name, text});
    take(parse_yaml(text, {Origin::Kind::kFile, 0, 1, 1},
                    [this](const Origin& at, const std::string& message, const std::string& hint) {
                      problems_.push_back({at, message, hint});
                    }));
    if (!problems_.empty()) throw ConfigError(ErrorKind::kConfig, describe(problems_, sources_, {}));
  }

  Site take_site() { return std::move(site_); }

 private:
  void refuse(const ConfigNode& node, const std::string& expected) {
    if (node.kind != Kind::kRefused)
      problems_.push_back({node.at, concat(node.key, ": expected ", expected, ", got ", describe(node)), ""});
  }

  void take(const ConfigNode& document) {
    if (document.kind == Kind::kNull || document.kind == Kind::kRefused) return;
    if (document.kind != Kind::kMap)
      problems_.push_back({document.at, "expected keys such as modules and environment", ""});
    for (const ConfigNode& item : document.items) take_value(item);
  }

  void take_value(const ConfigNode& item) {
    if (item.key == "modules") return take_lines(item, site_.modules);
    if (item.key == "environment") return take_environment(item);
    if (item.key == "container") return take_line(item, site_.container);
    if (item.key == "program") return take_line(item, site_.program);
    if (item.key == "directives") return take_lines(item, site_.directives);
    if (item.key == "setup") return take_lines(item, site_.setup);
    const std::vector<std::string> known = {"modules", "environment", "container", "program", "directives", "setup"};
    const std::string nearest = nearest_word(item.key, known);
    problems_.push_back({item.key_at, "unknown key " + in_quotes(item.key),
                         nearest.empty() ? "legal: modules, environment, container, program, directives, setup"
                                         : "did you mean " + in_quotes(nearest) + "?"});
  }

  void take_line(const ConfigNode& node, std::string& line) {
    if (node.kind != Kind::kScalar || node.text.empty() || node.text.find('\n') != std::string::npos)
      return refuse(node, "one line of text");
    line = node.text;
  }

  void take_lines(const ConfigNode& list, std::vector<std::string>& lines) {
    if (list.kind != Kind::kSequence) return refuse(list, "a list such as [one, two]");
    for (ConfigNode item : list.items) {
      item.key = list.key;
      take_line(item, lines.emplace_back());
    }
  }

  void take_environment(const ConfigNode& map) {
    if (map.kind != Kind::kMap) return refuse(map, "a map such as {NCCL_SOCKET_IFNAME: ib0}");
    for (const ConfigNode& item : map.items) {
      const auto in_name = [](char c) {
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
      };
      const bool name =
          !item.key.empty() && std::ranges::all_of(item.key, in_name) && (item.key[0] < '0' || item.key[0] > '9');
      if (!name) problems_.push_back({item.key_at, "environment: no name of a variable: " + in_quotes(item.key), ""});
      std::string value;
      if (!item.text.empty() || item.kind != Kind::kScalar) take_line(item, value);
      site_.environment.emplace_back(item.key, value);
    }
  }

  ConfigSources sources_;
  std::vector<ReadProblem> problems_;
  Site site_;
};

}  // namespace

Site parse_site(const std::string& name, const std::string& text) { return SiteReader(name, text).take_site(); }

Site read_site(const std::string& path) {
  std::string text;
  const Outcome read = attempt([&] { text = read_text(File::open_input(path), kLargestSite); });
  if (!read.ok) throw ConfigError(read.kind, concat("cannot read the site file: ", read.message));
  return parse_site(path, text);
}

std::string preparations(const Site& site) {
  std::string text;
  for (const std::string& module : site.modules) text += "module load " + quote_for_shell(module) + "\n";
  for (const auto& [name, value] : site.environment) text += concat("export ", name, "=", quote_for_shell(value), "\n");
  for (const std::string& line : site.setup) text += line + "\n";
  return text;
}

}  // namespace retain
