#include "launch/config/path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace retain {
namespace {

std::optional<std::string> variable(const std::string& name) {
  const std::map<std::string, std::string> set = {{"HOME", "/home/me"}, {"A", "/a b"},   {"B_2", "b"},
                                                  {"EMPTY", ""},        {"AGAIN", "$A"}, {"TILDE", "~/x"}};
  const auto found = set.find(name);
  return found == set.end() ? std::nullopt : std::optional(found->second);
}

/// The expanded path, or "refused: …".
std::string expanded(const std::string& path) {
  std::string problem;
  const auto out = expand_path(path, variable, problem);
  EXPECT_EQ(out.has_value(), problem.empty()) << path;
  return out.value_or("refused: " + problem);
}

TEST(Path, VariablesAndTheHomeFolderAreExpandedOnce) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"runs/x", "runs/x"},
      {"$A", "/a b"},
      {"$A/x.$B_2-1", "/a b/x.b-1"},
      {"${A}x/${B_2}2", "/a bx/b2"},
      {"~", "/home/me"},
      {"~/x", "/home/me/x"},
      {"~/$B_2", "/home/me/b"},
      {"x~", "x~"},
      {"a/x~/b~c", "a/x~/b~c"},
      {"x$TILDE", "x~/x"},
  };
  for (const auto& [path, want] : cases) EXPECT_EQ(expanded(path), want) << path;
}

TEST(Path, WhatCannotBeExpandedIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"x/$NONE/y", "the variable NONE is not set"},
      {"x/${EMPTY}", "the variable EMPTY is not set"},
      {"$AGAIN", "the variable AGAIN holds '$A'"},
      {"$TILDE", "the variable TILDE holds '~/x'"},
      {"$", "expected $NAME or ${NAME}"},
      {"a$", "expected $NAME or ${NAME}"},
      {"a$/b", "expected $NAME or ${NAME}"},
      {"$1", "expected $NAME or ${NAME}"},
      {"$$A", "expected $NAME or ${NAME}"},
      {"${A", "expected $NAME or ${NAME}"},
      {"${A:-x}", "expected $NAME or ${NAME}"},
      {"${}", "expected $NAME or ${NAME}"},
      {"~you/x", "write the whole path"},
      {"~~", "write the whole path"},
      {"./~/x", "write the whole path"},
      {"a/~", "write the whole path"},
  };
  for (const auto& [path, problem] : cases)
    EXPECT_THAT(expanded(path), ::testing::AllOf(::testing::StartsWith("refused: "), ::testing::HasSubstr(problem)))
        << path;
}

}  // namespace
}  // namespace retain
