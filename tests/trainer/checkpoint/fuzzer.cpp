// libFuzzer over fuzz.h:
//   checkpoint_fuzzer -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=5 WORK tests/trainer/checkpoint/corpus
// New inputs go to the folder WORK. Configure with -DCMAKE_CXX_COMPILER=clang++ and, so that the loader itself is
// covered, -DCMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link,address,undefined.
#include <cstddef>
#include <cstdint>

#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const retain::testing::TemporaryDirectory run(retain::testing::TemporaryDirectory::Where::kMemory);
  static const retain::testing::FuzzStep step(run.path());
  retain::testing::fuzz_one(step, {reinterpret_cast<const char*>(data), bytes});
  return 0;
}
