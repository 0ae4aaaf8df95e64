// From a path and --set arguments to a Config. Reading files and reading their text are apart, so that one rank reads
// files, all ranks get the bytes, and every rank comes to the same configuration or to the same error.
//   auto sources = read_config_sources("run.yaml");           // one rank
//   broadcast sources.serialize(); ConfigSources::deserialize // everybody
//   auto parsed = parse_config(sources, sets, ranks);
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"
#include "launch/config/tree.h"
#include "trainer/config.h"

namespace retain {

/// The files of a configuration: the one that was named, then its base files.
struct ConfigSources {
  struct File {
    std::string name;  ///< as it is shown; a base file's name is relative like the name of the file that names it
    std::string text;
  };
  std::vector<File> files;
  std::string working_directory;  ///< what relative paths in the configuration are relative to
  /// Set when a file could not be read: parse_config() then throws it, on every rank.
  std::string failure;
  ErrorKind failure_kind = ErrorKind::kMissingInput;

  std::string serialize() const;
  /// Throws Error(kInternal) when these are not serialize()'s bytes.
  static ConfigSources deserialize(std::string_view bytes);
};

/// Reads the file and, through `base`, all files it builds on. A file that cannot be read is noted in `failure`.
ConfigSources read_config_sources(const std::string& path);

struct ParsedConfig {
  Config config;                          ///< all paths absolute
  std::map<std::string, Origin> origins;  ///< of all keys that were given ("optimizer.lr", "data.valid.book")
  std::vector<std::string> file_names;    ///< by Origin::index
};

/// Defaults < base files < file < sets, then validate() for this number of ranks; pure. `ranks` = 0 leaves validate()
/// out (a configuration that comes from a checkpoint). Throws ConfigError: kConfig with everything that is wrong, or
/// the failure of the sources (kMissingInput).
ParsedConfig parse_config(const ConfigSources& sources, const std::vector<std::string>& sets, int ranks);

/// read_config_sources and parse_config in one process.
ParsedConfig load_config(const std::string& path, const std::vector<std::string>& sets, int ranks);

/// Every value and where it came from, as a configuration that retain reads again (resolved.yaml).
std::string resolved_yaml(const ParsedConfig& parsed);

}  // namespace retain
