#include "trainer/run/prometheus.h"

#include <gtest/gtest.h>

#include <cmath>

namespace retain::test {
namespace {

TEST(Prometheus, HasAGaugeForEachValue) {
  EXPECT_EQ(prometheus_text("/runs/a", {{"loss", 2.5}, {"valid/the book/loss", 1e-9}}),
            "# TYPE retain_loss gauge\n"
            "retain_loss{run=\"/runs/a\"} 2.5\n"
            "# TYPE retain_valid_the_book_loss gauge\n"
            "retain_valid_the_book_loss{run=\"/runs/a\"} 1e-09\n");
}

TEST(Prometheus, EscapesNamesAndKnowsWhatIsNoNumber) {
  EXPECT_EQ(prometheus_text("a \"b\"\\\n", {{"x", NAN}, {"y", INFINITY}, {"z", -INFINITY}}),
            "# TYPE retain_x gauge\nretain_x{run=\"a \\\"b\\\"\\\\\\n\"} NaN\n"
            "# TYPE retain_y gauge\nretain_y{run=\"a \\\"b\\\"\\\\\\n\"} +Inf\n"
            "# TYPE retain_z gauge\nretain_z{run=\"a \\\"b\\\"\\\\\\n\"} -Inf\n");
}

}  // namespace
}  // namespace retain::test
