#include "launch/config/reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <system_error>

#include "kernels/core/text.h"
#include "launch/config/problems.h"
#include "launch/config/schema.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"
#include "launch/config/yaml.h"
#include "trainer/data/token_shard.h"

namespace retain {
namespace {

using Kind = ConfigNode::Kind;

constexpr int kMostVisits = 1000;  // of files that are taken in again and again
constexpr size_t kMostFiles = 64;
// Of all files together: fifty times what people write. yaml-cpp takes time with the square of a list in brackets,
// here 2 s at worst.
constexpr size_t kMostBytes = size_t{128} << 10;

/// The text of a file that is named by another one (" (base of a.yaml:2)") or by nobody (""). Throws ConfigError.
using ReadText = std::function<std::string(const std::string& name, const std::string& named_by)>;

[[noreturn]] void cannot_read(ErrorKind kind, const std::string& name, const std::string& named_by,
                              const std::string& why) {
  throw ConfigError(kind, concat("cannot read the configuration '", escape_controls(name), "'", named_by, ": ", why));
}

std::filesystem::path normal(const std::string& name) { return std::filesystem::path(name).lexically_normal(); }

class Reader {
 public:
  Reader(ReadText read_text, std::string working_directory, Variables variables, const std::vector<std::string>& sets)
      : read_text_(std::move(read_text)), sets_(sets), fields_(config_fields()) {
    sources_.working_directory = std::move(working_directory);
    sources_.variables = std::move(variables);
    for (const Field& field : fields_) sections_.insert(field.section());
    sections_.erase("");
  }

  ParsedConfig read(const std::string& name, int ranks) {
    take_file(open_file(name, ""));
    for (size_t i = 0; i < sets_.size(); ++i) take_set(static_cast<int>(i) + 1);
    if (ranks > 0) check_values(ranks);
    if (!problems_.empty()) throw ConfigError(ErrorKind::kConfig, describe(problems_, sources_, sets_));
    make_absolute();
    std::vector<std::string> odd;
    if (ranks > 0)
      for (const ConfigProblem& doubt : doubts(config_))
        odd.push_back(describe(place_of(doubt), sources_) + ": " + doubt.key + " " + doubt.message);
    return {config_, resolved_yaml(), sources_.files[0].text, odd};
  }

 private:
  struct Given {
    Origin at;
    int order = 0;
  };

  void problem(const Origin& at, std::string message, std::string hint = "") {
    problems_.push_back({at, std::move(message), std::move(hint)});
  }
  /// A problem that leaves this key or section without a known value ("": all), so that it cannot be judged.
  void problem_of(const std::string& key, const Origin& at, std::string message, std::string hint = "") {
    unknown_.insert(key);
    problem(at, std::move(message), std::move(hint));
  }
  bool is_unknown(const std::string& key) const {
    return unknown_.contains("") || unknown_.contains(key) || unknown_.contains(key.substr(0, key.find('.')));
  }

  ConfigNode parse(std::string_view text, const Origin& start) {
    return parse_yaml(text, start, [&](const Origin& at, const std::string& message, const std::string& hint) {
      problem(at, message, hint);
    });
  }

  /// The index of a file, which is read unless it was before.
  size_t open_file(const std::string& name, const std::string& named_by) {
    std::vector<ConfigSources::File>& files = sources_.files;
    for (size_t i = 0; i < files.size(); ++i)
      if (normal(files[i].name) == normal(name)) return i;
    if (files.size() == kMostFiles)
      throw ConfigError(ErrorKind::kConfig, concat("'", escape_controls(files[0].name), "' builds on more than ",
                                                   kMostFiles - 1, " base files"));
    files.push_back({name, read_text_(name, named_by)});
    const Origin start = {Origin::Kind::kFile, static_cast<int>(files.size()) - 1, 1, 1};
    documents_.push_back(parse(files.back().text, start));
    return documents_.size() - 1;
  }

  /// Base files first, so that what this file says wins.
  void take_file(size_t index) {
    if (++visits_ > kMostVisits) throw ConfigError(ErrorKind::kConfig, "the base files name each other too often");
    path_.push_back(index);
    for (const ConfigNode& item : documents_[index].items)
      if (documents_[index].kind == Kind::kMap && item.key == "base") take_bases(index, item);
    path_.pop_back();
    take_document(documents_[index]);
  }

  void take_bases(size_t including, const ConfigNode& list) {
    if (list.kind == Kind::kRefused) return;
    if (list.kind != Kind::kSequence)
      return problem_of("", list.at, "base: expected a list of files such as [other.yaml], got " + describe(list));
    for (ConfigNode entry : list.items) {
      expand(entry, "base");
      if (entry.kind == Kind::kScalar && !entry.text.empty())
        take_base(including, entry);
      else if (entry.kind != Kind::kRefused)
        problem(entry.at, "base: expected the name of a file, got " + describe(entry));
    }
  }

  /// Puts what variables hold into a scalar that is a path.
  void expand(ConfigNode& path, const std::string& key) {
    if (!sources_.variables || path.kind != Kind::kScalar) return;
    std::string wrong;
    const auto expanded = expand_path(path.text, sources_.variables, wrong);
    if (expanded && *expanded != path.text && *expanded != escape_controls(*expanded))
      wrong = "control characters or broken UTF-8 in what the path stands for, " + in_quotes(*expanded);
    if (wrong.empty()) {
      path.text = *expanded;
    } else {
      path.kind = Kind::kRefused;
      problem_of(key == "base" ? "" : key, path.at, key + ": " + wrong);
    }
  }

  /// A base file's name is relative to the folder of the file that names it, unless absolute.
  void take_base(size_t including, const ConfigNode& entry) {
    const std::string by = sources_.files[including].name;
    const size_t index = open_file((std::filesystem::path(by).parent_path() / entry.text).lexically_normal().string(),
                                   concat(" (base of ", escape_controls(by), ":", entry.at.line, ")"));
    auto at = std::find(path_.begin(), path_.end(), index);
    if (at == path_.end()) return take_file(index);
    std::string circle;
    for (; at != path_.end(); ++at) circle += sources_.files[*at].name + " -> ";
    problem_of("", entry.at,
               "base files go round in a circle: " + escape_controls(circle + sources_.files[index].name));
  }

  /// --set a.b=c is the document {a: {b: c}}.
  void take_set(int number) {
    const std::string& text = sets_[static_cast<size_t>(number - 1)];
    const auto origin = [&](size_t byte) {
      return Origin{Origin::Kind::kSet, number, 1, 1 + count_characters(text.substr(0, byte))};
    };
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      return problem(origin(0), "expected key=value, got " + in_quotes(text), "such as optimizer.lr=3e-4");
    // data.valid.book: everything after the second dot is a name of the user's; else there is one dot.
    const std::string path = text.substr(0, equals);
    std::vector<size_t> ends = {equals};
    const size_t first = path.find('.'), second = first == std::string::npos ? first : path.find('.', first + 1);
    if (second != std::string::npos && names_entries(path.substr(0, second))) ends.insert(ends.begin(), second);
    if (first != std::string::npos) ends.insert(ends.begin(), first);

    ConfigNode node = parse(std::string_view(text).substr(equals + 1), origin(equals + 1));
    for (size_t i = ends.size(); i-- > 0;) {
      const size_t begin = i == 0 ? 0 : ends[i - 1] + 1;
      node.key = text.substr(begin, ends[i] - begin);
      node.key_at = origin(begin);
      ConfigNode map;
      map.kind = Kind::kMap;
      map.at = node.key_at;
      map.items.push_back(std::move(node));
      node = std::move(map);
    }
    take_document(node);
  }

  bool names_entries(const std::string& path) const {
    return std::any_of(fields_.begin(), fields_.end(),
                       [&](const Field& f) { return f.path == path && f.names_entries; });
  }

  void take_document(const ConfigNode& document) {
    constexpr const char* kExpected = "expected the sections run, model, data, train …";
    if (document.kind == Kind::kRefused) unknown_.insert("");
    if (document.kind == Kind::kNull) problem_of("", document.at, concat("is empty: ", kExpected));
    if (document.kind == Kind::kScalar || document.kind == Kind::kSequence)
      problem_of("", document.at, concat(kExpected, ", got ", describe(document)));
    if (document.kind != Kind::kMap) return;
    for (const ConfigNode& item : document.items) {
      if (sections_.contains(item.key))
        take_section(item);
      else if (item.key != "base")
        take_value("", item);
      else if (item.key_at.kind == Origin::Kind::kSet)
        problem(item.key_at, "base stands in files only");
    }
  }

  void take_section(const ConfigNode& section) {
    given_[section.key] = {section.key_at};
    const bool from_file = section.key_at.kind == Origin::Kind::kFile;
    if (section.kind == Kind::kNull && from_file) return;  // all commented out
    if (section.kind == Kind::kRefused)
      unknown_.insert(section.key);
    else if (section.kind != Kind::kMap)
      problem_of(section.key, section.at,
                 concat(section.key, ": expected a section with keys, got ", describe(section)));
    else
      for (const ConfigNode& item : section.items) take_value(section.key, item);
  }

  void take_value(const std::string& section, const ConfigNode& written) {
    ConfigNode value = written;
    const std::string path = section.empty() ? value.key : section + "." + value.key;
    // A key with a dot is no field's name, though its path may read like one.
    const auto field = std::find_if(fields_.begin(), fields_.end(),
                                    [&](const Field& f) { return f.path == path && f.name() == value.key; });
    const bool known = field != fields_.end();
    if (value.kind == Kind::kRefused) unknown_.insert(known ? path : section);
    if (!known && !value.key_refused) return unknown_key(section, value, path);
    if (value.kind == Kind::kRefused) return;
    if (value.kind == Kind::kNull) return problem_of(path, value.key_at, path + " has no value");
    if (field->each_path) field->each_path(value, [&](ConfigNode& scalar) { expand(scalar, path); });
    const bool good = field->set(config_, value, [&](const Origin& at, const std::string& wrong, const auto& hint) {
      problem(at, path + ": " + wrong, hint);
    });
    if (!good) unknown_.insert(path);
    given_[path] = {value.at, ++count_};
    if (field->names_entries)
      for (const ConfigNode& entry : value.items) given_[path + "." + entry.key] = {entry.at, count_};
  }

  void unknown_key(const std::string& section, const ConfigNode& item, const std::string& path) {
    std::string hint;
    const size_t dot = item.key.find('.');
    if (section.empty() && dot != std::string::npos && item.key_at.kind == Origin::Kind::kFile) {
      hint = "write a section: " + in_quotes(item.key.substr(0, dot)) + " with the key " +
             in_quotes(item.key.substr(dot + 1));
    } else {
      std::string nearest;
      if (section.empty()) nearest = nearest_word(item.key, {sections_.begin(), sections_.end()});
      hint = did_you_mean(nearest.empty() ? suggest_key(fields_, section, item.key) : nearest);
    }
    problem_of(section, item.key_at, "unknown key " + in_quotes(path), hint);  // what it was meant to set is not known
  }

  /// validate(), as far as the values that it looks at could be read.
  void check_values(int ranks) {
    for (const ConfigProblem& wrong : validate(config_, ranks)) {
      const auto& others = wrong.other_keys;
      const bool moot = std::any_of(others.begin(), others.end(), [&](const auto& key) { return is_unknown(key); });
      if (!moot && !is_unknown(wrong.key)) problem(place_of(wrong), wrong.key + " " + wrong.message);
    }
  }

  /// Where the key was given; else where the last of the others was, which clashes with a default; else its section.
  Origin place_of(const ConfigProblem& wrong) const {
    Given last = given(wrong.key);
    if (last.order > 0) return last.at;
    for (const std::string& key : wrong.other_keys)
      if (given(key).order > last.order) last = given(key);
    return last.order > 0 ? last.at : given(wrong.key.substr(0, wrong.key.find('.'))).at;
  }

  Given given(const std::string& key) const {
    const auto found = given_.find(key);
    return found == given_.end() ? Given{} : found->second;
  }

  void make_absolute() {
    const auto absolute = [&](std::string& path) {
      std::filesystem::path whole = (std::filesystem::path(sources_.working_directory) / path).lexically_normal();
      if (!whole.has_filename() && whole.has_relative_path()) whole = whole.parent_path();  // a slash at the end
      path = whole.string();
    };
    absolute(config_.run.dir);
    if (config_.log.prometheus != kNoFile) absolute(config_.log.prometheus);
    if (config_.data.tokenizer != "bytes") absolute(config_.data.tokenizer);
    const auto absolute_set = [&](std::string& path) {
      const std::string_view nano = kNanoGpt;
      std::string file = path.starts_with(nano) ? path.substr(nano.size()) : path;
      absolute(file);
      path = path.starts_with(nano) ? kNanoGpt + file : file;
    };
    for (DataSource& source : config_.data.train) absolute_set(source.path);
    for (auto& [name, path] : config_.data.valid) absolute_set(path);
  }

  std::string resolved_yaml() const {
    const auto origin = [&](const std::string& key) {
      return given_.contains(key) ? describe(given(key).at, sources_) : "default";
    };
    return "# Every value of a run and where it came from.\n" +
           print_fields(
               fields_, [&](const Field& f) { return f.get(config_); },
               [&](const Field& f) {
                 std::string all;
                 if (f.names_entries)
                   for (const auto& [name, path] : config_.data.valid)
                     all += (all.empty() ? "" : ", ") + name + ": " + origin(f.path + "." + name);
                 return all.empty() ? origin(f.path) : all;
               });
  }

  ReadText read_text_;
  const std::vector<std::string>& sets_;
  std::vector<Field> fields_;
  std::set<std::string> sections_;
  ConfigSources sources_;
  std::deque<ConfigNode> documents_;  // of the sources
  std::vector<size_t> path_;          // of files that are being taken in
  int visits_ = 0;
  std::map<std::string, Given> given_;  // keys, entries and sections
  int count_ = 0;                       // of values that were given
  std::set<std::string> unknown_;
  std::vector<ReadProblem> problems_;
  Config config_;
};

}  // namespace

ParsedConfig parse_config(const ConfigSources& sources, const std::vector<std::string>& sets, int ranks) {
  RETAIN_CHECK(!sources.files.empty(), "no configuration was read");
  const auto read_text = [&](const std::string& name, const std::string& named_by) {
    for (const ConfigSources::File& file : sources.files)
      if (normal(file.name) == normal(name)) return file.text;
    cannot_read(ErrorKind::kConfig, name, named_by, "it is no file of this configuration");
  };
  return Reader(read_text, sources.working_directory, sources.variables, sets).read(sources.files[0].name, ranks);
}

namespace {

/// At most `left` bytes, which become fewer by as many as are read.
std::string read_file(const std::string& name, const std::string& named_by, size_t& left) {
  errno = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(name.c_str(), "rb"), std::fclose);
  std::string text(left + 1, '\0');
  text.resize(file ? std::fread(text.data(), 1, text.size(), file.get()) : 0);
  if (!file || std::ferror(file.get())) {
    const int reason = errno;
    const std::string meant = reason == ENOENT ? nearest_file(name) : "";
    cannot_read(ErrorKind::kMissingInput, name, named_by,
                std::generic_category().message(reason) +
                    (meant.empty() ? "" : " (" + did_you_mean(escape_controls(meant)) + ")"));
  }
  if (text.size() > left)
    cannot_read(ErrorKind::kConfig, name, named_by,
                concat("a configuration has at most ", kMostBytes, " bytes, with its base files"));
  left -= text.size();
  return text;
}

ParsedConfig load(const std::string& name, const ReadText& read_text, const std::vector<std::string>& sets, int ranks) {
  std::error_code error;
  return Reader(read_text, std::filesystem::current_path(error).string(), environment_variable, sets).read(name, ranks);
}

}  // namespace

ParsedConfig load_config(const std::string& path, const std::vector<std::string>& sets, int ranks) {
  size_t left = kMostBytes;
  return load(
      path, [&](const std::string& name, const std::string& named_by) { return read_file(name, named_by, left); }, sets,
      ranks);
}

ParsedConfig load_config_text(const std::string& name, const std::string& text, const std::vector<std::string>& sets,
                              int ranks) {
  size_t left = kMostBytes;
  const auto read_text = [&](const std::string& file, const std::string& named_by) {
    return named_by.empty() ? text : read_file(file, named_by, left);
  };
  return load(name, read_text, sets, ranks);
}

std::string read_config_file(const std::string& name) {
  size_t left = kMostBytes;
  return read_file(name, "", left);
}

}  // namespace retain
