// From the file of a study to a Study. Read like a configuration: every problem at once, with its place, what is legal
// and what was probably meant; numbers with suffixes; variables in paths. trainer/study/README.md lists the keys.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "launch/config/reader.h"
#include "trainer/study/cells.h"

namespace retain {

/// Reads the training configuration that cells build on: the file of this name, or, where it stands in the study's file
/// itself, this text under that file's name. Throws ConfigError.
using ReadBase = std::function<Config(const std::string& name, const std::optional<std::string>& text)>;

/// Pure but for `read_base`. The study's file is the first of the sources. Throws ConfigError(kConfig).
study::Study parse_study(const ConfigSources& sources, const ReadBase& read_base);

/// The same from the disk. Throws ConfigError, kMissingInput for a file that cannot be read.
study::Study load_study(const std::string& path);

/// The whole configuration of a run, as `retain train` reads it.
std::string run_config_text(const study::Run& run);

}  // namespace retain
