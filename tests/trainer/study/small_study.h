// A study that tests change a little: two sizes on a CPU.
#pragma once

#include <string>
#include <vector>

#include "trainer/study/cells.h"
#include "trainer/study/plan.h"
#include "trainer/study/study.h"

namespace retain::test {

inline study::Study small_study() {
  study::Study s;
  s.dir = "/studies/small";
  s.base.device = DeviceKind::kCpu;
  s.base.model.vocab_size = 257;
  s.base.data.train = {{"/data/train", 1}};
  s.base.data.valid = {{"held", "/data/valid"}};
  s.base.data.seq_len = 32;
  s.base.train.batch_tokens = 1024;
  s.base.train.micro_batch_tokens = 256;
  s.base.schedule = {.kind = ScheduleKind::kWsd, .warmup_steps = 4, .decay_fraction = 0.2};
  s.sizes = {{.name = "S", .layers = 2, .hidden_size = 32, .heads = 4, .ffn_size = 48},
             {.name = "M", .layers = 3, .hidden_size = 64, .heads = 4, .ffn_size = 96}};
  s.tokens = {20'480, 40'960};
  s.machine.step_seconds = 0.5;
  s.machine.flops_per_second = 1e9;
  return s;
}

/// Two cells of one size, evaluated on the sets "held" and "web".
inline study::Plan two_cells() {
  study::Study s = small_study();
  s.sizes.resize(1);
  s.base.data.valid = {{"held", "/a"}, {"web", "/b"}};
  std::vector<std::string> doubts;
  return study::make_plan(s, study::make_runs(s, doubts), {});
}

}  // namespace retain::test
