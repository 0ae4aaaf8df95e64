// A model out of a checkpoint or an export on one device of this process: what eval and generate work with.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "launch/session.h"
#include "launch/verbs/used_checkpoint.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/model/parameters.h"

namespace retain {

struct TrainedModel {
  UsedCheckpoint used;
  Config config;  ///< of the run that trained it
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<int32_t> end_token;  ///< with which its documents end and begin, unless a set shows another
  Target target;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ParameterStore> parameters;
};

/// The ranks that work with a model together; without `host` this process does alone.
struct ModelRanks {
  Communicator* host = nullptr;  ///< all of them
  LocalPlace local = {};         ///< this one's, on its machine
  int tp = 1;                    ///< so many neighbours share heads, columns and vocabulary
};

/// `path`: a step directory, a run directory (its newest step), or a folder that fla or torchscale reads (`checkpoint
/// export`). The weights alone are read, in one pass, and of a checkpoint every block that holds some is verified in
/// it; where one is damaged the run's next older step is taken, on all ranks the same. Says on stderr which step it is.
/// With ranks of tp the parameters are this rank's; throws Error(kUsage) where the model cannot be cut so. Collective
/// over `ranks.host`: what one rank throws, all throw as a SharedError.
TrainedModel load_trained_model(const std::string& path, const ModelRanks& ranks = {});

}  // namespace retain
