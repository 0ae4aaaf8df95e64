// The configuration inside a checkpoint, which this release or another one has written.
#pragma once

#include <string>

#include "trainer/run/resume.h"

namespace retain {

/// What resolved.yaml was: keys that came later are at their defaults; what this release does not know, a key or a
/// value that is legal no more, is left out and told (SavedConfig::unknown). Throws Error(kData) when it is no
/// configuration.
SavedConfig read_saved_config(const std::string& text);

}  // namespace retain
