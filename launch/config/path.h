// Variables and the home folder in paths, as people write them in configurations and on command lines, where no shell
// has seen them: $VAR, ${VAR} and a leading ~.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace retain {

/// What a variable holds; nothing when it is not set.
using Variables = std::function<std::optional<std::string>(const std::string& name)>;

/// Those of this process's environment.
std::optional<std::string> environment_variable(const std::string& name);

/// The path with its variables and a leading ~ (HOME) replaced by what they hold, once. Nothing, and in `problem` why,
/// when one is not set or empty, holds what would be expanded again, or is not written so: the path that comes out
/// has no '$', and no '~' as the name of a folder.
std::optional<std::string> expand_path(const std::string& path, const Variables& variables, std::string& problem);

}  // namespace retain
