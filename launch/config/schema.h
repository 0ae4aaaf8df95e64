// The one table of all keys of a configuration: how each is written, read, printed, bounded and explained, and what a
// resume asks of it. It drives the reader (launch/config/reader), its suggestions, resolved.yaml,
// configs/reference.yaml, what a resume compares, and --allow-changed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "launch/config/yaml.h"
#include "trainer/run/resume.h"

namespace retain {

/// Takes a scalar that is a path, and may change it.
using PathVisitor = std::function<void(ConfigNode&)>;

struct Field {
  std::string path;                      ///< "optimizer.lr"
  std::string unit;                      ///< "tokens", "steps", or ""
  std::string range;                     ///< "1 to 100000", "swiglu, geglu, gelu", …, or ""
  std::string doc;                       ///< one line
  std::string example;                   ///< of a key that must be given, as YAML; "" when there is a default
  std::vector<std::string> other_names;  ///< what others call it: found by suggestions, never accepted
  bool names_entries = false;            ///< a map from names of the user's choice: data.valid
  Resume resume = Resume::kMayDiffer;

  /// Reads the node into the configuration and returns true, or reports what is wrong and changes nothing.
  std::function<bool(Config&, const ConfigNode&, const ReportProblem&)> set;
  /// Visits the scalars below a node that are paths; empty when the key has none.
  std::function<void(ConfigNode&, const PathVisitor&)> each_path;
  /// The value as YAML, in one line.
  std::function<std::string(const Config&)> get;

  std::string section() const;  ///< "optimizer", or "" for a key at the top
  std::string name() const;     ///< "lr"
};

/// All keys, in the order of their sections.
std::vector<Field> config_fields();

/// Every key with its value and what a resume makes of another one.
std::map<std::string, RunKey> run_keys(const Config& config);
/// What --allow-changed may name: keys of Resume::kIfAllowed, and what the training data holds.
std::vector<std::string> changeable_keys();
/// What a resume may change, for people: all keys, those of a section that are of one kind as "section.*", in lines of
/// at most 78 characters.
std::string resume_table();

/// The fields as a YAML file: one line a field, the value and beside it `comment(field)`.
std::string print_fields(const std::vector<Field>& fields, const std::function<std::string(const Field&)>& value,
                         const std::function<std::string(const Field&)>& comment);

/// The text of configs/reference.yaml: every key with its default (or an example of one that must be given), unit,
/// range and meaning.
std::string reference_yaml();

/// An enumeration's values with their names in YAML.
template <class E>
using Named = std::vector<std::pair<std::string, E>>;
Named<DeviceKind> named_devices();
Named<Precision> named_precisions();

template <class E>
std::vector<std::string> names_of(const Named<E>& named) {
  std::vector<std::string> names;
  for (const auto& [name, value] : named) names.push_back(name);
  return names;
}

}  // namespace retain
