#include "launch/config/saved.h"

#include <algorithm>

#include "launch/config/schema.h"
#include "launch/config/value.h"
#include "launch/config/yaml.h"

namespace retain {

SavedConfig read_saved_config(const std::string& text) {
  SavedConfig saved;
  const std::vector<Field> fields = config_fields();
  std::string problem;
  const auto note = [&](const Origin& at, const std::string& message, const std::string&) {
    if (problem.empty()) problem = concat("line ", at.line, ": ", message);
  };
  const auto take = [&](const std::string& path, const ConfigNode& node) {
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.path == path; });
    if (field == fields.end() || !field->set(saved.config, node, note))
      saved.unknown[path] = node.kind == ConfigNode::Kind::kScalar ? node.text : describe(node);
  };
  const ConfigNode document = parse_yaml(text, {Origin::Kind::kFile, 0, 1, 1}, note);
  if (document.kind != ConfigNode::Kind::kMap)
    throw Error(ErrorKind::kData, concat("the configuration in the checkpoint cannot be read: ",
                                         problem.empty() ? "it is " + describe(document) : problem));
  for (const ConfigNode& item : document.items) {
    if (item.kind == ConfigNode::Kind::kMap)
      for (const ConfigNode& inner : item.items) take(item.key + "." + inner.key, inner);
    else
      take(item.key, item);
  }
  for (const Field& field : fields) saved.values[field.path] = field.get(saved.config);
  return saved;
}

}  // namespace retain
