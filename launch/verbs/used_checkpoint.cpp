#include "launch/verbs/used_checkpoint.h"

#include <filesystem>
#include <iostream>

namespace retain {

UsedCheckpoint used_checkpoint(const Checkpoint& checkpoint, std::vector<std::string> warnings) {
  Path path = std::filesystem::absolute(checkpoint.path()).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // a slash at the end
  const Path run = path.parent_path().parent_path();
  return {.run = path.parent_path() == checkpoints_directory(run) ? run.string() : "",
          .path = path.string(),
          .step = checkpoint.state().step,
          .warnings = std::move(warnings)};
}

nlohmann::ordered_json to_json(const UsedCheckpoint& used) {
  return {{"run", used.run}, {"step", used.step}, {"path", used.path}, {"warnings", used.warnings}};
}

void tell(const UsedCheckpoint& used) {
  std::cerr << concat("retain: this is step ", used.step, used.run.empty() ? "" : " of " + used.run, ", ", used.path,
                      used.warnings.empty() ? "" : "; see the warnings above", "\n");
}

}  // namespace retain
