#include "launch/config/fields.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"

namespace retain::schema {
namespace {

std::string joined(const Names& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Field make_field(std::string path, std::string type, std::string doc) {
  Field field;
  field.path = std::move(path);
  field.type = std::move(type);
  field.doc = std::move(doc);
  return field;
}

/// The text of a plain (not quoted) scalar; reports what else stands there.
const std::string* plain_scalar(const ConfigNode& node, const std::string& expected, const ReportProblem& report) {
  if (node.kind == ConfigNode::Kind::kScalar && !node.quoted) return &node.text;
  if (node.kind == ConfigNode::Kind::kRefused) return nullptr;  // reported already
  report(node, "expected " + expected + ", got " + describe(node), node.quoted ? "write it without quotes" : "");
  return nullptr;
}

bool read_real(const ConfigNode& node, const Interval& interval, const ReportProblem& report, double& value) {
  const std::string* text = plain_scalar(node, "a number", report);
  if (!text) return false;
  std::string problem;
  const auto read = parse_real(*text, problem);
  if (!read) {
    report(node, problem + ", got " + describe(node), "");
  } else if (!interval.holds(*read)) {
    report(node, "expected a number " + interval.describe() + ", got " + *text, "");
  } else {
    value = *read;
    return true;
  }
  return false;
}

/// Reads text without control characters; of a path also one that no shell would have expanded.
bool read_text(const ConfigNode& node, bool is_path, const ReportProblem& report, std::string& value) {
  const char* what = is_path ? "a path" : "a name";
  const auto is_control = [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; };
  if (node.kind != ConfigNode::Kind::kScalar || node.text.empty()) {
    report(node, concat("expected ", what, ", got ", describe(node)), "");
  } else if (std::any_of(node.text.begin(), node.text.end(), is_control)) {
    report(node, concat("expected ", what, " without control characters, got ", describe(node)), "");
  } else if (is_path && (node.text == "~" || node.text.starts_with("~/"))) {
    report(node, "'~' is not expanded: write the whole path", "");
  } else {
    value = node.text;
    return true;
  }
  return false;
}

bool read_source(const ConfigNode& node, const ReportProblem& report, DataSource& source) {
  if (node.kind != ConfigNode::Kind::kMap) {
    if (node.kind != ConfigNode::Kind::kRefused)
      report(node, "expected {path: …, weight: …}, got " + describe(node), "");
    return false;
  }
  bool good = true, has_path = false;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].name;
    const ConfigNode& value = node.items[i];
    if (value.kind == ConfigNode::Kind::kRefused) {
      good = false;
    } else if (key == "path") {
      has_path = true;
      good = read_text(value, true, report, source.path) && good;
    } else if (key == "weight") {
      good = read_real(value, kPositive, report, source.weight) && good;
    } else {
      ConfigNode at;
      at.at = node.keys[i].at;
      at.text = key;
      at.kind = ConfigNode::Kind::kScalar;
      const std::string nearest = nearest_word(key, {"path", "weight"});
      report(at, "expected the keys path and weight, got " + describe(at),
             nearest.empty() ? "" : "did you mean '" + nearest + "'?");
      good = false;
    }
  }
  if (good && !has_path) report(node, "has no path", "");
  return good && has_path;
}

}  // namespace

std::string Bounds::describe() const {
  return high >= kMostTokens ? concat("at least ", low) : concat(low, " to ", high);
}

std::string Interval::describe() const {
  if (high == std::numeric_limits<double>::max()) return concat(low_open ? "above " : "at least ", low);
  return concat("in ", low_open ? "(" : "[", low, ", ", high, high_open ? ")" : "]");
}

Field whole(std::string path, Place<int64_t> place, Bounds bounds, std::string unit, std::string doc,
            std::string zero_word) {
  Field f = make_field(std::move(path), "whole number", std::move(doc));
  f.unit = std::move(unit);
  const std::string range = bounds.describe();
  f.range = zero_word.empty() ? range : zero_word + " or " + range;
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "a whole number", report);
    if (!text) return;
    if (!zero_word.empty() && *text == zero_word) {
      place.set(config, 0);
      return;
    }
    std::string problem;
    const auto value = parse_whole(*text, problem);
    if (!value) {
      report(node, concat(problem, zero_word.empty() ? "" : ", or " + zero_word, ", got ", describe(node)), "");
    } else if (*value > bounds.high && bounds.high >= kMostTokens) {
      report(node, concat("expected at most ", bounds.high, ", got ", *text), "");
    } else if (*value < bounds.low || *value > bounds.high) {
      report(node, concat("expected ", zero_word.empty() ? "" : zero_word + " or ", range, ", got ", *text), "");
    } else {
      place.set(config, *value);
    }
  };
  f.get = [=](const Config& config) {
    const int64_t value = place.get(config);
    return value == 0 && !zero_word.empty() ? zero_word : std::to_string(value);
  };
  return f;
}

Field real(std::string path, Place<double> place, Interval interval, std::string doc) {
  Field f = make_field(std::move(path), "real number", std::move(doc));
  f.range = interval.describe();
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    double value = 0;
    if (read_real(node, interval, report, value)) place.set(config, value);
  };
  f.get = [=](const Config& config) { return print_real(place.get(config)); };
  return f;
}

Field on_off(std::string path, Place<bool> place, std::string doc) {
  Field f = make_field(std::move(path), "true or false", std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "true or false", report);
    if (!text) return;
    if (*text == "true" || *text == "false")
      place.set(config, *text == "true");
    else
      report(node, "expected true or false, got " + describe(node), "");
  };
  f.get = [=](const Config& config) { return place.get(config) ? "true" : "false"; };
  return f;
}

Field choice(std::string path, Place<int64_t> place, Names names, std::string doc) {
  Field f = make_field(std::move(path), "one of " + joined(names), std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "one of " + joined(names), report);
    if (!text) return;
    const auto found = std::find(names.begin(), names.end(), *text);
    if (found != names.end()) {
      place.set(config, found - names.begin());
      return;
    }
    const std::string nearest = nearest_word(*text, names);
    report(node, "expected one of " + joined(names) + ", got " + describe(node),
           nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  };
  f.get = [=](const Config& config) { return names.at(static_cast<size_t>(place.get(config))); };
  return f;
}

Field text(std::string path, Place<std::string> place, bool is_path, std::string doc) {
  Field f = make_field(std::move(path), is_path ? "path" : "name", std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    std::string value;
    if (read_text(node, is_path, report, value)) place.set(config, std::move(value));
  };
  f.get = [=](const Config& config) { return print_text(place.get(config)); };
  return f;
}

Field betas() {
  Field f = make_field("optimizer.betas", "list of two real numbers", "decay of AdamW's first and second moment");
  f.range = "in [0, 1)";
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kSequence || node.items.size() != 2) {
      report(node,
             "expected a list of two numbers such as [0.9, 0.98], got " +
                 (node.kind == ConfigNode::Kind::kSequence ? concat("a list of ", node.items.size()) : describe(node)),
             "");
      return;
    }
    const Interval interval = {.low = 0, .high = 1, .high_open = true};
    read_real(node.items[0], interval, report, config.optimizer.beta1);
    read_real(node.items[1], interval, report, config.optimizer.beta2);
  };
  f.get = [](const Config& config) {
    return "[" + print_real(config.optimizer.beta1) + ", " + print_real(config.optimizer.beta2) + "]";
  };
  return f;
}

Field train_sources() {
  Field f = make_field("data.train", "list of {path, weight}", "token shards and their shares of the mixture");
  f.example = "[{path: data/train, weight: 1}]";
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kSequence) {
      report(node, "expected a list such as [{path: data/train, weight: 1}], got " + describe(node), "");
      return;
    }
    std::vector<DataSource> sources(node.items.size());
    bool good = true;
    for (size_t i = 0; i < sources.size(); ++i) good = read_source(node.items[i], report, sources[i]) && good;
    if (good) config.data.train = std::move(sources);
  };
  f.get = [](const Config& config) {
    std::string out;
    for (const DataSource& source : config.data.train)
      out += (out.empty() ? "{path: " : ", {path: ") + print_text(source.path) +
             ", weight: " + print_real(source.weight) + "}";
    return "[" + out + "]";
  };
  return f;
}

Field valid_sets() {
  Field f = make_field("data.valid", "map from name to path", "to evaluate on; adds to a base file's, {} removes them");
  f.names_entries = true;
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kMap) {
      report(node, "expected a map such as {book: data/book}, got " + describe(node), "");
      return;
    }
    if (node.keys.empty()) config.data.valid.clear();
    for (size_t i = 0; i < node.keys.size(); ++i) {
      std::string path;
      if (node.items[i].kind != ConfigNode::Kind::kRefused && read_text(node.items[i], true, report, path))
        config.data.valid[node.keys[i].name] = path;
    }
  };
  f.get = [](const Config& config) {
    std::string out;
    for (const auto& [name, path] : config.data.valid)
      out += (out.empty() ? "" : ", ") + print_text(name) + ": " + print_text(path);
    return "{" + out + "}";
  };
  return f;
}

}  // namespace retain::schema
