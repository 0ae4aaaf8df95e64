// A model out of a checkpoint on one device of this process: what eval and generate work with.
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

/// `path`: a step directory, or a run directory (its newest step). The checksums are verified first. Says on stderr
/// which step it is.
TrainedModel load_trained_model(const std::string& path);

}  // namespace retain
