#include "trainer/study/runs_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

class Runs : public ::testing::Test {
 protected:
  RunsTable read(const std::string& text, const RunsQuery& query = {}) {
    const Path path = folder_.path() / "runs.csv";
    replace_file(path, text);
    return read_runs(path.string(), query);
  }
  std::string complaint(int code, const std::string& text, const RunsQuery& query = {}) {
    try {
      read(text, query);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), code);
      return error.what();
    }
    ADD_FAILURE() << "accepted";
    return "";
  }

 private:
  TemporaryDirectory folder_;
};

const char* const kCollected =
    "run_id,params,params_non_embedding,tokens,flops,loss,eval_set,seed,schedule,status\n"
    "a,1000000,800000,2e7,1.3e14,3.5,book,1,wsd,done\n"
    "b,2M,1.7M,40M,4.9e14,,book,1,wsd,running\n"
    "c,2M,1.7M,40M,4.9e14,9.5,book,2,wsd,diverged\n"
    "d,2M,1.7M,40M,4.9e14,nan,book,3,wsd,done\n";

TEST_F(Runs, OnlyThoseThatAreDoneAndHaveALossAreFitted) {
  const RunsTable table = read(kCollected);
  ASSERT_EQ(table.runs.size(), 1U);
  const StudyRun& run = table.runs[0];
  EXPECT_EQ(run.id, "a");
  EXPECT_EQ(run.params, 1e6);
  EXPECT_EQ(run.tokens, 2e7);
  EXPECT_EQ(run.flops, 1.3e14);
  EXPECT_EQ(run.loss, 3.5);
  EXPECT_EQ(run.counted[1], 8e5);
  EXPECT_FALSE(run.counted[2]);
  EXPECT_EQ(run.schedule, "wsd");
  EXPECT_EQ(run.seed, "1");
  ASSERT_EQ(table.excluded.size(), 3U);
  EXPECT_EQ(table.excluded[0].reason, "status is running");
  EXPECT_EQ(table.excluded[1].why, ExcludedRow::Why::kDiverged);
  EXPECT_EQ(table.excluded[2].reason, "no finite positive loss");
}

TEST_F(Runs, APublishedTableIsReadByItsMap) {
  RunsQuery query;
  query.map = parse_column_map("N='Model Size',C=\"Training, FLOP\",L=loss");
  const RunsTable table = read("Model Size,\"Training, FLOP\",loss\n1e9,6e19,2.5\n", query);
  EXPECT_EQ(table.runs[0].tokens, 1e10);
  EXPECT_EQ(table.runs[0].id, "line 2");
}

TEST_F(Runs, FiltersKeepWhatTheyNameAndHoldOutMarks) {
  RunsQuery query;
  query.only = {parse_row_filter("eval_set=book"), parse_row_filter("D/N<=30")};
  query.holdout = parse_row_filter("params>1.5e6");
  const RunsTable table = read(
      "params,tokens,loss,eval_set\n"
      "1M,20M,3,book\n2M,20M,3,book\n1M,40M,3,book\n1M,20M,3,wiki\n",
      query);
  ASSERT_EQ(table.runs.size(), 2U);
  EXPECT_FALSE(table.runs[0].held_out);
  EXPECT_TRUE(table.runs[1].held_out);
  EXPECT_EQ(table.excluded[0].reason, "not D/N<=30");
  EXPECT_EQ(table.excluded[1].reason, "not eval_set=book");
}

TEST_F(Runs, WhatCannotBeReadIsNamedWhereItStands) {
  EXPECT_THAT(complaint(65, "params,tokens,loss\n1e6,x,3\n"),
              HasSubstr("runs.csv:2:5: found 'x' in column 'tokens', want a positive number"));
  EXPECT_THAT(complaint(65, "params,tokens,loss\n-1,2,3\n"), HasSubstr("runs.csv:2:1: found '-1'"));
  EXPECT_THAT(complaint(65, "params,tokens,loss\n1,2,high\n"),
              HasSubstr("runs.csv:2:5: found 'high' in column 'loss'"));
  EXPECT_THAT(
      complaint(65, "size,tokens,loss\n1,2,3\n"),
      HasSubstr("no column 'params' (N); the columns are size, tokens, loss; name the right one with --map N=COLUMN"));
  EXPECT_THAT(complaint(65, "params,loss\n1,3\n"), HasSubstr("'tokens' (D) nor 'flops' (C)"));
  RunsQuery wrong;
  wrong.map = parse_column_map("N=size");
  EXPECT_THAT(complaint(64, "params,tokens,loss\n1,2,3\n", wrong),
              HasSubstr("has no such column; its columns are params, tokens, loss"));
  RunsQuery filter;
  filter.only = {parse_row_filter("size>3")};
  EXPECT_THAT(complaint(64, "params,tokens,loss\n1,2,3\n", filter), HasSubstr("has no column 'size'"));
}

TEST_F(Runs, RowsOfSeveralEvaluationSetsAreNoTable) {
  EXPECT_THAT(complaint(65, "params,tokens,loss,eval_set\n1,2,3,a\n1,2,3,b\n"),
              HasSubstr("rows of 2 evaluation sets (a, b); a law is of one: add --only 'eval_set=b'"));
}

TEST(ColumnMap, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"X=a", "N", "N=a,N=b", "N=a,"}) EXPECT_THROW(parse_column_map(text), Error) << text;
}

TEST(RowFilter, ReadsOperators) {
  EXPECT_EQ(parse_row_filter("a>=1").op, ">=");
  EXPECT_EQ(parse_row_filter("a!=b c").value, "b c");
  EXPECT_EQ(parse_row_filter("Model Size<1e9").column, "Model Size");
  for (const char* text : {"a", "a>x", "=3", "a!3", "a==3", ""}) EXPECT_THROW(parse_row_filter(text), Error) << text;
}

TEST(Quantity, TakesSuffixes) {
  EXPECT_EQ(parse_quantity("6.7B"), 6.7e9);
  EXPECT_EQ(parse_quantity("100e9"), 1e11);
  EXPECT_EQ(parse_quantity("64Ki"), 65536);
  EXPECT_FALSE(parse_quantity("6.7X"));
  EXPECT_FALSE(parse_quantity(""));
  EXPECT_FALSE(parse_quantity(" 1"));
}

}  // namespace
}  // namespace retain::test
