#include "launch/jobs/site.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/config.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string complaint_about_site(const std::string& text) {
  try {
    parse_site("site.yaml", text);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 78);
    return error.what();
  }
  return "";
}

TEST(Site, AllOfItIsRead) {
  const Site site = parse_site("site.yaml",
                               "modules: [a, b/2]\nenvironment: {X: 1, Y_2: 'a b', EMPTY: ''}\ncontainer: run it\n"
                               "program: /bin/x\ndirectives: [--a=b]\nsetup: [ulimit -l unlimited, cd /]\n");
  EXPECT_THAT(site.modules, ElementsAre("a", "b/2"));
  EXPECT_THAT(site.environment, ElementsAre(Pair("X", "1"), Pair("Y_2", "a b"), Pair("EMPTY", "")));
  EXPECT_EQ(site.container, "run it");
  EXPECT_EQ(site.program, "/bin/x");
  EXPECT_THAT(site.directives, ElementsAre("--a=b"));
  EXPECT_THAT(site.setup, ElementsAre("ulimit -l unlimited", "cd /"));
  EXPECT_TRUE(parse_site("site.yaml", "").modules.empty());
}

TEST(Site, WhatIsWrongIsSaidAtItsPlaceAllAtOnce) {
  const std::string said = complaint_about_site(
      "module: [a]\nmodules: a\nenvironment: {1X: a}\ncontainer: |\n  two\n  lines\ndirectives: [[a]]\n");
  EXPECT_THAT(said, HasSubstr("site.yaml:1:1: unknown key 'module'"));
  EXPECT_THAT(said, HasSubstr("did you mean 'modules'?"));
  EXPECT_THAT(said, HasSubstr("site.yaml:2:10: modules: expected a list such as [one, two], got 'a'"));
  EXPECT_THAT(said, HasSubstr("no name of a variable: '1X'"));
  EXPECT_THAT(said, HasSubstr("container: expected one line of text"));
  EXPECT_THAT(said, HasSubstr("directives: expected one line of text, got a list"));
  EXPECT_THAT(said, HasSubstr("5 errors; nothing was started."));
  EXPECT_THAT(complaint_about_site("- a\n"), HasSubstr("expected keys such as modules"));
}

}  // namespace
}  // namespace retain::test
