// The one table of all keys of a configuration: how each is written, read, printed, bounded and explained. It drives
// the reader (launch/config/reader), its suggestions, resolved.yaml and configs/reference.yaml.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/config/tree.h"
#include "trainer/config.h"

namespace retain {

/// Takes a problem at a node: message, and hint ("" without one).
using ReportProblem = std::function<void(const ConfigNode& at, std::string message, std::string hint)>;

struct Field {
  std::string path;     ///< "optimizer.lr"
  std::string type;     ///< "whole number", "real number", "true or false", "one of swiglu, geglu, gelu", …
  std::string unit;     ///< "tokens", "steps", or ""
  std::string range;    ///< "1 to 100000", or ""
  std::string doc;      ///< one line
  std::string example;  ///< of a key that must be given, as YAML; "" when there is a default
  std::vector<std::string> other_names;  ///< what others call it: found by suggestions, never accepted
  bool names_entries = false;            ///< a map from names of the user's choice: data.valid

  /// Reads the node into the configuration, or reports what is wrong and leaves the configuration as it is.
  std::function<void(Config&, const ConfigNode&, const ReportProblem&)> set;
  /// The value as YAML, in one line.
  std::function<std::string(const Config&)> get;

  std::string section() const;  ///< "optimizer", or "" for a key at the top
  std::string name() const;     ///< "lr"
};

/// All keys, in the order of their sections.
std::vector<Field> config_fields();

/// The fields as a YAML file: one line a field, the value and beside it `comment(field)`.
std::string print_fields(const std::vector<Field>& fields, const std::function<std::string(const Field&)>& value,
                         const std::function<std::string(const Field&)>& comment);

/// The text of configs/reference.yaml: every key with its default (or an example of one that must be given), unit,
/// range and meaning.
std::string reference_yaml();

/// The names of an enumeration's values in YAML, in the order of the values.
std::vector<std::string> choices(DeviceKind);
std::vector<std::string> choices(Precision);

}  // namespace retain
