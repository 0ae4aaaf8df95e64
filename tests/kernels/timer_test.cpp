// Timers of a backend's queue.
#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Timer : public BackendTest {};

TEST_P(Timer, MeasuresTheWorkBetweenStartAndStop) {
  const int64_t n = 256;
  const DeviceTensor a = activation({n, n}, random_values(n * n, 1)), b = activation({n, n}, random_values(n * n, 2));
  const DeviceTensor c = activation({n, n});
  const auto multiply = [&] { backend().matmul({.a = a.view(), .b = b.view(), .c = c.view()}); };
  multiply();  // a backend may measure the first product of a shape
  const auto once = backend().make_timer(), often = backend().make_timer();
  once->start();
  multiply();
  once->stop();
  often->start();
  for (int i = 0; i < 200; ++i) multiply();
  often->stop();
  EXPECT_GT(once->elapsed_ms(), 0);
  EXPECT_GT(often->elapsed_ms(), once->elapsed_ms());

  once->start();  // timers can be used again
  once->stop();
  EXPECT_LT(once->elapsed_ms(), often->elapsed_ms());
}

INSTANTIATE_TEST_SUITE_P(Backends, Timer, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
