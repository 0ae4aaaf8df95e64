#include "tests/support/tiny_checkpoint.h"

#include "trainer/checkpoint/inspect.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain::test {

RunState run_state_of(Trainer& trainer, int64_t step) {
  RunState about;
  about.step = step;
  about.tokens = step * trainer.config().train.batch_tokens;
  about.seed = trainer.config().run.seed;
  about.next_sample = about.tokens / trainer.config().data.seq_len;
  about.mesh = trainer.mesh().shape();
  about.zero = trainer.config().parallel.zero;
  return about;
}

void save_state(Trainer& trainer, const std::string& run, int64_t step) {
  HostState state(trainer.backend(), trainer.parameters(), trainer.reducer().share());
  state.begin_copy();
  state.wait();
  CheckpointWriter writer(trainer.mesh().host(), run, {.keep = 2});
  const auto placements = placements_of(trainer.parameters().layout(), trainer.mesh().at().tp);
  const SaveResult result = writer.save(run_state_of(trainer, step), placements, state.flat());
  if (!result.committed) throw Error(result.kind, result.message);
}

void load_state(Trainer& trainer, const std::string& run, LoadedPart part) {
  const HostState staging(trainer.backend(), trainer.parameters(), trainer.reducer().share());
  StateLoad load(trainer.parameters(), trainer.mesh().at().tp, staging, part);
  const LoadTarget target = load.target([](const RunState&) {});
  open_verified(
      trainer.mesh().host(), run, [](const std::string&) {}, &target);
  load.finish(trainer.backend(), trainer.reducer());
}

std::string digest_of(const std::string& run) { return compute_digest(open_unverified(run)).value; }

}  // namespace retain::test
