// What tests need besides trainer/selftest/tiny_run: folders, identities, and a training on the CPU in one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trainer/file.h"
#include "trainer/run/resume.h"
#include "trainer/selftest/tiny_run.h"

namespace retain::test {

/// A folder that is removed at the end, with its path as text.
class TemporaryDirectory {
 public:
  const std::string& path() const { return path_; }

 private:
  retain::TemporaryDirectory directory_;
  std::string path_ = directory_.path();
};

/// |got - want|₂ / |want|₂
double relative_error(const std::vector<double>& got, const std::vector<double>& want);

/// Makes one token of the set one that no vocabulary has.
void spoil_token(const std::string& set, int64_t token);

/// An identity without keys, whose checkpoints are all said to hold `config`.
RunIdentity identity_of(const Config& config);

/// Trains `steps` steps on the CPU over the ranks of the communicator (which it owns).
TinyResult train_tiny(const Config& config, DType compute, int steps, std::unique_ptr<Communicator> ranks,
                      const MakeTensorGroup& make = same_group);

}  // namespace retain::test
