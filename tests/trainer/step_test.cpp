// What a step makes of batches that are not as usual.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiny_run.h"
#include "trainer/data/token_writer.h"

namespace retain::test {
namespace {

TEST(Step, ABatchWithoutATargetHasNoLossAndUpdatesNothing) {
  const TemporaryDirectory directory;
  Config config = tiny_config(directory.path());
  config.data.end_of_document = kEndOfDocumentNone;
  TokenWriter writer(directory.path() + "/text", 257);
  for (int32_t i = 0; i < 2000; ++i) {  // each is a document of its own
    const int32_t token = i % 256;
    writer.append(std::span(&token, 1));
    writer.end_document();
  }
  writer.finish();

  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1});
  const auto before = gather_whole(trainer, trainer.parameters().flat_weights());
  EXPECT_TRUE(trainer.prepare({}, {.stop = true}).wishes.stop);
  trainer.queue([] { ADD_FAILURE() << "an update was queued"; });
  const StepResult result = trainer.finish();
  EXPECT_EQ(result.predicted_tokens, 0);
  EXPECT_TRUE(std::isnan(result.loss));
  EXPECT_EQ(gather_whole(trainer, trainer.parameters().flat_weights()), before);
}

}  // namespace
}  // namespace retain::test
