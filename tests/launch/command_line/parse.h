// Command lines as tests write them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "kernels/core/error.h"
#include "launch/command_line/command_line.h"

namespace retain {

using Arguments = std::vector<std::string>;

template <class Options>
Options parse(const Arguments& arguments) {
  return std::get<Options>(parse_command_line(arguments));
}

/// What is said about a wrong command line; fails when it is accepted or the exit code is not 64.
inline std::string complaint(const Arguments& arguments) {
  try {
    parse_command_line(arguments);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 64);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

}  // namespace retain
