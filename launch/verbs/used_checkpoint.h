// Which checkpoint a verb has used: a run is not enough to know, because it may have newer ones that are damaged, or
// may be saving others.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/checkpoint/reader.h"

namespace retain {

struct UsedCheckpoint {
  std::string run;   ///< the run's directory; "" for a step that lies in none
  std::string path;  ///< of the step
  int64_t step = 0;
  std::vector<std::string> warnings;  ///< why it is not the run's newest, and whatever else was said when it was opened
};

UsedCheckpoint used_checkpoint(const Checkpoint& checkpoint, std::vector<std::string> warnings = {});
/// {"run", "step", "path", "warnings"}
nlohmann::ordered_json to_json(const UsedCheckpoint& used);
/// A line on stderr.
void tell(const UsedCheckpoint& used);

}  // namespace retain
