#include "trainer/inference/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace retain::test {
namespace {

/// The text that comes out when it goes in in pieces of so many bytes, with "|" where a string was found.
std::string stopped(const std::vector<std::string>& stops, const std::string& text, size_t piece) {
  StopStrings strings(stops);
  std::string out;
  for (size_t i = 0; i < text.size() && !strings.found(); i += piece) out += strings.add(text.substr(i, piece));
  return out + (strings.found() ? "|" : strings.rest());
}

TEST(StopStrings, FindTheFirstOneWhereverPiecesAreCut) {
  const std::string text = "aabaabaac ab";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    EXPECT_EQ(stopped({"aabaac"}, text, piece), "aab|") << piece;  // which begins inside of one that is none
    EXPECT_EQ(stopped({"c ", "baac"}, text, piece), "aabaa|") << piece;
    EXPECT_EQ(stopped({"x", "ab!"}, text, piece), text) << piece;  // what was held back comes at the end
    EXPECT_EQ(stopped({}, text, piece), text) << piece;
  }
}

TEST(StopStrings, HoldBackNoMoreThanTheBeginningOfOne) {
  StopStrings strings({"\n\n", "END"});
  EXPECT_EQ(strings.add("some text\n"), "some text");
  EXPECT_EQ(strings.add("more E"), "\nmore ");
  EXPECT_EQ(strings.add("N"), "");
  EXPECT_EQ(strings.add("d\n"), "ENd");
  EXPECT_EQ(strings.add("\nlost"), "");
  EXPECT_TRUE(strings.found());
  EXPECT_EQ(strings.add("nothing more"), "");
}

}  // namespace
}  // namespace retain::test
