// A command of the shell, as a test sees it end.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace retain {

struct ShellResult {
  int exit_code = -1;  ///< -1: it could not be started, or a signal ended it
  std::string output;
};

inline ShellResult shell(const std::string& command) {
  ShellResult result;
  std::FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 512> line{};
  while (pipe && std::fgets(line.data(), line.size(), pipe)) result.output += line.data();
  const int status = pipe ? pclose(pipe) : -1;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace retain
