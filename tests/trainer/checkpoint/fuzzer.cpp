// libFuzzer over fuzz.h; tests/README.md says how to build and run it.
#include <cstddef>
#include <cstdint>

#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const retain::test::TemporaryDirectory run(retain::test::TemporaryDirectory::Where::kMemory);
  static const retain::test::FuzzStep step(run.path());
  retain::test::fuzz_one(step, {reinterpret_cast<const char*>(data), bytes});
  return 0;
}
