// Configurations for tests: a right one, and what the reader says about wrong ones.
#pragma once

#include <string>
#include <vector>

#include "launch/config/reader.h"

namespace retain::test {

/// A file of the source tree.
std::string source_path(const std::string& relative);
std::string read_source(const std::string& relative);

/// run.yaml with this text, and good.yaml: a small configuration that is right, for files that build on it. HOME is
/// /home/me, SCRATCH /scratch, and no other variable is set.
ConfigSources sources_of(const std::string& text);

/// What the reader says about run.yaml; "" when it accepts it. Fails when anything but a ConfigError is thrown.
std::string complaint(const std::string& text, const std::vector<std::string>& sets = {}, int ranks = 1);

/// The text must be that of the file in the source tree. When it is not, writes it to the file's name under the
/// build folder's golden/ and says how to compare and accept it.
void expect_golden(const std::string& text, const std::string& relative);

}  // namespace retain::test
