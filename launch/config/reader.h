// From a path and --set arguments to a Config.
//   const ParsedConfig parsed = load_config("run.yaml", {"optimizer.lr=1e-3"}, ranks);
// Of several ranks one does that; the others get its resolved text (read_config_once in launch/session).
#pragma once

#include <string>
#include <vector>

#include "launch/config/path.h"
#include "trainer/config.h"

namespace retain {

/// Texts of a configuration: the file that was named, then base files.
struct ConfigSources {
  struct File {
    std::string name;  ///< as it is shown; a base file's name is relative like the name of the file that names it
    std::string text;
  };
  std::vector<File> files;
  std::string working_directory;  ///< what relative paths in the configuration are relative to
  Variables variables = {};       ///< what $NAME and ~ stand for in paths; empty: paths are taken as they are
};

struct ParsedConfig {
  Config config;         ///< all paths absolute
  std::string resolved;  ///< every value and where it came from, as YAML that retain reads again (resolved.yaml)
  std::string source;    ///< the text of the file that was named
  std::vector<std::string> doubts = {};  ///< what is legal and odd, a line each: "run.yaml:2:13: schedule.warmup = …"
};

/// Defaults < base files < file < sets, then validate() for this number of ranks. `ranks` = 0 leaves validate() out (a
/// configuration that comes from a checkpoint, or that was checked before). Variables in paths are those of the
/// environment, and `config` and `resolved` have what they hold. Throws ConfigError: kConfig with everything
/// that is wrong, or kMissingInput for a file that cannot be read.
ParsedConfig load_config(const std::string& path, const std::vector<std::string>& sets, int ranks);

/// The same of a text that stands for the file of this name, such as the part of a file that is a configuration. Base
/// files are read from the disk.
ParsedConfig load_config_text(const std::string& name, const std::string& text, const std::vector<std::string>& sets,
                              int ranks);

/// The whole text of a file that configurations are read from. Throws ConfigError.
std::string read_config_file(const std::string& name);

/// The same of texts in memory; pure.
ParsedConfig parse_config(const ConfigSources& sources, const std::vector<std::string>& sets, int ranks);

}  // namespace retain
