#include "launch/config/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "launch/config/schema.h"

namespace retain {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refusal(const std::string& key) {
  try {
    explain(key);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(Explain, EveryKeyHasItsReasonInLinesThatFit) {
  std::set<std::string> reasons;
  for (const Field& field : config_fields()) {
    const std::string text = explain(field.path);
    const size_t why = text.find("  why      ");
    ASSERT_NE(why, std::string::npos) << field.path;
    EXPECT_TRUE(reasons.insert(text.substr(why)).second) << field.path << " has the reason of another key";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST(Explain, SaysWhatTheTableThatValidatesSays) {
  const std::string text = explain("train.recompute");
  EXPECT_THAT(text, StartsWith("train.recompute\n  is       what backward does again\n  default  none\n"));
  EXPECT_THAT(text, HasSubstr("  legal    none, selective, full, segment\n"));
  EXPECT_THAT(explain("train.tokens"), HasSubstr("  default  none: must be given, such as 100B\n  unit     tokens\n"));
  EXPECT_THAT(explain("model.heads"), HasSubstr("  resume   may not change\n"));
}

TEST(Explain, OfASectionAreAllItsKeys) {
  const std::string text = explain("log");
  EXPECT_THAT(text, StartsWith("log.every\n"));
  EXPECT_EQ(explain("parallel"), explain("parallel."));
  EXPECT_THAT(explain("parallel"), HasSubstr("\n\nparallel.cp\n"));
}

TEST(Explain, NamesWhatWasProbablyMeant) {
  EXPECT_EQ(refusal("optimizer.learning_rate"), "no key 'optimizer.learning_rate' (did you mean 'optimizer.lr'?)");
  EXPECT_THAT(refusal("optimizer.xyzzy"), HasSubstr("configs/reference.yaml has all"));
}

}  // namespace
}  // namespace retain
