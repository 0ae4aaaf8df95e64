#include "launch/config/reader.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "kernels/core/text.h"
#include "launch/config/base.h"
#include "launch/config/problems.h"
#include "launch/config/schema.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"
#include "launch/config/yaml.h"

namespace retain {
namespace {

constexpr int kMostVisits = 1000;  // of files that are taken in again and again

class Reader {
 public:
  Reader(const ConfigSources& sources, const std::vector<std::string>& sets)
      : sources_(sources), sets_(sets), documents_(sources.files.size()), fields_(config_fields()) {
    for (const Field& field : fields_) sections_.insert(field.section());
    sections_.erase("");
  }

  ParsedConfig read(int ranks) {
    take_file(0);
    for (size_t i = 0; i < sets_.size(); ++i) take_set(static_cast<int>(i) + 1);
    if (ranks > 0) check_values(ranks);
    if (!problems_.empty()) throw ConfigError(ErrorKind::kConfig, describe(problems_, sources_, sets_));
    for (const ConfigSources::File& file : sources_.files) parsed_.file_names.push_back(file.name);
    return std::move(parsed_);
  }

 private:
  void problem(const Origin& at, const std::string& key, std::string message, std::string hint = "") {
    problems_.push_back({at, key, std::move(message), std::move(hint)});
  }

  /// Base files first, so that what this file says wins.
  void take_file(size_t index) {
    if (++visits_ > kMostVisits) throw ConfigError(ErrorKind::kConfig, "the base files name each other too often");
    std::optional<ConfigNode>& document = documents_[index];
    if (!document) {
      const size_t known = problems_.size();
      document =
          parse_yaml(sources_.files[index].text, {Origin::Kind::kFile, static_cast<int>(index), 1, 1}, problems_);
      for (size_t i = known; i < problems_.size(); ++i) taint(problems_[i].key);
    }
    path_.push_back(index);
    for (const ConfigNode& entry : base_entries(*document)) take_base(index, entry);
    path_.pop_back();
    take_document(*document, true);
  }

  void take_base(size_t including, const ConfigNode& entry) {
    const std::string name = base_name(sources_.files[including].name, entry.text);
    const auto file = std::find_if(sources_.files.begin(), sources_.files.end(),
                                   [&](const ConfigSources::File& f) { return same_file(f.name, name); });
    if (file == sources_.files.end()) {
      taint("");
      problem(entry.at, "", concat("base file ", in_quotes(name), " was not read"));
      return;
    }
    const auto index = static_cast<size_t>(file - sources_.files.begin());
    if (std::find(path_.begin(), path_.end(), index) == path_.end()) {
      take_file(index);
      return;
    }
    taint("");
    std::string circle;
    for (auto at = std::find(path_.begin(), path_.end(), index); at != path_.end(); ++at)
      circle += sources_.files[*at].name + " -> ";
    problem(entry.at, "", "base files go round in a circle: " + escape_controls(circle + file->name));
  }

  static bool same_file(const std::string& a, const std::string& b) {
    return a == b || std::filesystem::path(a).lexically_normal() == std::filesystem::path(b).lexically_normal();
  }

  /// --set a.b=c is the document {a: {b: c}}.
  void take_set(int number) {
    const std::string& text = sets_[static_cast<size_t>(number - 1)];
    const Origin start = {Origin::Kind::kSet, number, 1, 1};
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      problem(start, "", "expected key=value, got " + in_quotes(text), "such as optimizer.lr=3e-4");
      return;
    }
    const std::string path = text.substr(0, equals);
    const size_t dot = path.find('.');
    ConfigNode document = one_key(path.substr(0, dot), start);
    ConfigNode* leaf = &document.items[0];
    if (dot != std::string::npos) {
      // data.valid.book: everything after the second dot is a name of the user's.
      std::string name = path.substr(dot + 1), entry;
      const size_t second = name.find('.');
      Origin at = start;
      at.column += count_characters(path.substr(0, dot + 1));
      if (second != std::string::npos && is_map(path.substr(0, dot) + "." + name.substr(0, second))) {
        entry = name.substr(second + 1);
        name.resize(second);
      }
      *leaf = one_key(name, at);
      leaf = &leaf->items[0];
      if (!entry.empty()) {
        at.column += count_characters(name) + 1;
        *leaf = one_key(entry, at);
        leaf = &leaf->items[0];
      }
    }
    Origin at = start;
    at.column += count_characters(path) + 1;
    const size_t known = problems_.size();
    *leaf = parse_yaml(std::string_view(text).substr(equals + 1), at, problems_);
    for (size_t i = known; i < problems_.size(); ++i) problems_[i].key = path;
    if (problems_.size() > known) taint(path);
    take_document(document, false);
  }

  static ConfigNode one_key(const std::string& name, const Origin& at) {
    ConfigNode node;
    node.kind = ConfigNode::Kind::kMap;
    node.at = at;
    node.keys.push_back({name, at});
    node.items.resize(1);
    return node;
  }

  bool is_map(const std::string& path) const {
    return std::any_of(fields_.begin(), fields_.end(),
                       [&](const Field& f) { return f.path == path && f.names_entries; });
  }

  void take_document(const ConfigNode& document, bool is_file) {
    if (document.kind == ConfigNode::Kind::kRefused) return taint("");
    if (document.kind == ConfigNode::Kind::kNull) {
      taint("");
      return problem(document.at, "", "is empty: expected the sections run, model, data, train …");
    }
    if (document.kind != ConfigNode::Kind::kMap) {
      taint("");
      return problem(document.at, "", "expected the sections run, model, data, train …, got " + describe(document));
    }
    for (size_t i = 0; i < document.keys.size(); ++i) {
      const ConfigNode::Key& key = document.keys[i];
      const ConfigNode& value = document.items[i];
      if (key.name == "base") {
        check_base(key, value, is_file);
      } else if (sections_.contains(key.name)) {
        take_section(key, value);
      } else {
        take_value("", key, value);
      }
    }
  }

  void check_base(const ConfigNode::Key& key, const ConfigNode& value, bool is_file) {
    if (!is_file) return problem(key.at, "base", "base stands in files only");
    if (value.kind == ConfigNode::Kind::kRefused) return;
    if (value.kind != ConfigNode::Kind::kSequence) {
      taint("");
      return problem(value.at, "base", "base: expected a list of files such as [other.yaml], got " + describe(value));
    }
    for (const ConfigNode& entry : value.items)
      if (entry.kind != ConfigNode::Kind::kRefused && (entry.kind != ConfigNode::Kind::kScalar || entry.text.empty()))
        problem(entry.at, "base", "base: expected the name of a file, got " + describe(entry));
  }

  void take_section(const ConfigNode::Key& section, const ConfigNode& value) {
    section_origins_[section.name] = section.at;
    if (value.kind == ConfigNode::Kind::kNull && section.at.kind == Origin::Kind::kFile) return;  // all commented out
    if (value.kind == ConfigNode::Kind::kRefused) return taint(section.name);
    if (value.kind != ConfigNode::Kind::kMap) {
      taint(section.name);
      return problem(value.at, section.name,
                     concat(section.name, ": expected a section with keys, got ", describe(value)));
    }
    for (size_t i = 0; i < value.keys.size(); ++i) take_value(section.name, value.keys[i], value.items[i]);
  }

  void take_value(const std::string& section, const ConfigNode::Key& key, const ConfigNode& value) {
    const std::string path = section.empty() ? key.name : section + "." + key.name;
    const auto field = std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.path == path; });
    // A key with a dot is no field's name, though its path may read like one.
    if (field == fields_.end() || field->name() != key.name) return unknown_key(section, key, path);
    if (value.kind == ConfigNode::Kind::kRefused) return taint(path);
    if (value.kind == ConfigNode::Kind::kNull) {
      taint(path);
      return problem(key.at, path, path + " has no value");
    }
    bool good = true;
    field->set(parsed_.config, value, [&](const ConfigNode& at, const std::string& message, const std::string& hint) {
      problem(at.at, path, path + ": " + message, hint);
      good = false;
    });
    if (!good) taint(path);
    parsed_.origins[path] = value.at;
    order_[path] = ++given_;
    if (!field->names_entries || value.kind != ConfigNode::Kind::kMap) return;
    for (size_t i = 0; i < value.keys.size(); ++i) parsed_.origins[path + "." + value.keys[i].name] = value.items[i].at;
  }

  void unknown_key(const std::string& section, const ConfigNode::Key& key, const std::string& path) {
    std::string hint;
    const size_t dot = key.name.find('.');
    if (section.empty() && dot != std::string::npos && key.at.kind == Origin::Kind::kFile) {
      hint = "write a section: " + in_quotes(key.name.substr(0, dot)) + " with the key " +
             in_quotes(key.name.substr(dot + 1));
    } else {
      std::string nearest;
      if (section.empty()) nearest = nearest_word(key.name, {sections_.begin(), sections_.end()});
      if (nearest.empty()) nearest = suggest_key(fields_, section, key.name);
      if (!nearest.empty()) hint = "did you mean '" + nearest + "'?";
    }
    problem(key.at, path, "unknown key " + in_quotes(path), hint);
    taint(section);  // what the key was meant to set is not known
  }

  /// Values of this key or section cannot be judged; "" stands for all.
  void taint(const std::string& key) { tainted_.insert(key); }
  bool is_tainted(const std::string& key) const {
    return tainted_.contains("") || tainted_.contains(key) || tainted_.contains(key.substr(0, key.find('.')));
  }

  /// validate(), as far as the values that it looks at could be read.
  void check_values(int ranks) {
    for (const ConfigProblem& wrong : validate(parsed_.config, ranks)) {
      if (is_tainted(wrong.key) ||
          std::any_of(wrong.other_keys.begin(), wrong.other_keys.end(), [&](const auto& k) { return is_tainted(k); }))
        continue;
      problem(place_of(wrong), wrong.key, wrong.key + " " + wrong.message);
    }
  }

  /// Where the key was given; else where the last of the others was, which clashes with a default; else its section.
  Origin place_of(const ConfigProblem& wrong) const {
    if (const auto at = parsed_.origins.find(wrong.key); at != parsed_.origins.end()) return at->second;
    std::string last;
    for (const std::string& key : wrong.other_keys)
      if (parsed_.origins.contains(key) && (last.empty() || order_.at(key) > order_.at(last))) last = key;
    if (!last.empty()) return parsed_.origins.at(last);
    const auto section = section_origins_.find(wrong.key.substr(0, wrong.key.find('.')));
    return section == section_origins_.end() ? Origin{} : section->second;
  }

  const ConfigSources& sources_;
  const std::vector<std::string>& sets_;
  std::vector<std::optional<ConfigNode>> documents_;
  std::vector<Field> fields_;
  std::set<std::string> sections_;
  std::map<std::string, Origin> section_origins_;
  std::vector<size_t> path_;  // of files that are being taken in
  int visits_ = 0;
  std::map<std::string, int> order_;  ///< in which keys were given last
  int given_ = 0;
  std::set<std::string> tainted_;
  std::vector<ReadProblem> problems_;
  ParsedConfig parsed_;
};

void make_absolute(Config& config, const std::string& working_directory) {
  const auto absolute = [&](std::string& path) {
    std::filesystem::path whole = (std::filesystem::path(working_directory) / path).lexically_normal();
    if (!whole.has_filename() && whole.has_relative_path()) whole = whole.parent_path();  // a slash at the end
    path = whole.string();
  };
  absolute(config.run.dir);
  for (DataSource& source : config.data.train) absolute(source.path);
  for (auto& [name, path] : config.data.valid) absolute(path);
}

}  // namespace

std::vector<ConfigNode> base_entries(const ConfigNode& document) {
  std::vector<ConfigNode> entries;
  for (size_t i = 0; i < document.keys.size(); ++i) {
    if (document.keys[i].name != "base" || document.items[i].kind != ConfigNode::Kind::kSequence) continue;
    for (const ConfigNode& entry : document.items[i].items)
      if (entry.kind == ConfigNode::Kind::kScalar && !entry.text.empty()) entries.push_back(entry);
  }
  return entries;
}

ParsedConfig parse_config(const ConfigSources& sources, const std::vector<std::string>& sets, int ranks) {
  if (!sources.failure.empty()) throw ConfigError(sources.failure_kind, sources.failure);
  RETAIN_CHECK(!sources.files.empty(), "no configuration was read");
  ParsedConfig parsed = Reader(sources, sets).read(ranks);
  make_absolute(parsed.config, sources.working_directory);
  return parsed;
}

ParsedConfig load_config(const std::string& path, const std::vector<std::string>& sets, int ranks) {
  return parse_config(read_config_sources(path), sets, ranks);
}

std::string resolved_yaml(const ParsedConfig& parsed) {
  ConfigSources names;
  for (const std::string& name : parsed.file_names) names.files.push_back({name, ""});
  const auto origin = [&](const std::string& key) -> std::string {
    const auto at = parsed.origins.find(key);
    return at == parsed.origins.end() ? "default" : describe(at->second, names);
  };
  return "# Every value of a run and where it came from.\n" +
         print_fields(
             config_fields(), [&](const Field& f) { return f.get(parsed.config); },
             [&](const Field& f) {
               if (!f.names_entries) return origin(f.path);
               std::string all;
               for (const auto& [name, path] : parsed.config.data.valid)
                 all += (all.empty() ? "" : ", ") + name + ": " + origin(f.path + "." + name);
               return all.empty() ? origin(f.path) : all;
             });
}

}  // namespace retain
