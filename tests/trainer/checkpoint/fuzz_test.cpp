// The committed corpus and random edits of it: no input makes the loader crash, hang, or take much memory. Where a
// compiler with libFuzzer is there, checkpoint_fuzzer does the same for as long as one likes.
#include "tests/trainer/checkpoint/fuzz.h"

#include <sys/resource.h>

#include <random>

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kEdits = 1000;
constexpr bool kLimitMemory = false;  // sanitizers map terabytes
#else
constexpr int kEdits = 20000;
constexpr bool kLimitMemory = true;
#endif

// While it lives, the process gets at most so much more address space; then bad_alloc, which is no Error.
class MemoryLimit {
 public:
  explicit MemoryLimit(rlim_t more) {
    if (!kLimitMemory) return;
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    const rlimit now{pages * static_cast<rlim_t>(::getpagesize()) + more, before_.rlim_max};
    ::setrlimit(RLIMIT_AS, &now);
  }
  ~MemoryLimit() {
    if (kLimitMemory) ::setrlimit(RLIMIT_AS, &before_);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

std::vector<std::string> corpus() {
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(RETAIN_SOURCE_DIR "/tests/trainer/checkpoint/corpus")) {
    inputs.push_back(read_all(entry.path()));
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

// A few edits of the kinds that parsers stumble over.
std::string edited(std::string text, const std::vector<std::string>& others, std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"0",
                                                   "-1",
                                                   "1e308",
                                                   "18446744073709551615",
                                                   "9223372036854775807",
                                                   "281474976710656",
                                                   "281474976710657",
                                                   "4294967296",
                                                   "{}",
                                                   "[]",
                                                   "null",
                                                   "\"\"",
                                                   "[[[[[[[[",
                                                   "../x",
                                                   "\\u0000",
                                                   "\xff",
                                                   "/param/"};
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % std::max<size_t>(n, 1)); };
  for (size_t edits = 1 + below(3); edits > 0; --edits) {
    const size_t at = below(text.size());
    const size_t length = std::min(1 + below(40), text.size() - at);
    switch (below(7)) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(at, text.substr(below(text.size()), length)); break;
      case 3: text.insert(at, kPieces[below(kPieces.size())]); break;
      case 4: {  // another number for one that is there
        const size_t digit = text.find_first_of("0123456789", at);
        if (digit == std::string::npos) break;
        const size_t end = std::min(text.find_first_not_of("0123456789", digit), text.size());
        text.replace(digit, end - digit, below(2) == 0 ? kPieces[below(8)] : std::to_string(random() % 2000));
        break;
      }
      case 5: text.replace(at, length, others[below(others.size())].substr(0, below(200))); break;
      default: text.resize(at);
    }
    if (text.empty()) return text;
  }
  return text;
}

TEST(HostileCheckpoint, CorpusAndRandomEditsAreRefusedOrLoadedInBoundedMemory) {
  const TemporaryDirectory run(TemporaryDirectory::Where::kMemory);
  const FuzzStep step(run.path());
  std::vector<std::string> inputs = corpus();
  ASSERT_GE(inputs.size(), 5U);
  inputs.push_back(step.manifest());
  ASSERT_EQ(fuzz_one(step, inputs.back()), FuzzResult::kLoaded);

  std::mt19937_64 random(20);
  std::array<int, 3> results{};
  const MemoryLimit limit(rlim_t{256} << 20);
  for (const std::string& input : inputs) ++results[static_cast<size_t>(fuzz_one(step, input))];
  for (int i = 0; i < kEdits; ++i) {
    // Every second input is an edit of the manifest that loads, so that edits get past the first checks.
    const std::string input = edited(i % 2 == 0 ? inputs.back() : inputs[random() % inputs.size()], inputs, random);
    try {
      ++results[static_cast<size_t>(fuzz_one(step, input))];
    } catch (const std::exception& e) {
      FAIL() << "edit " << i << ": " << e.what() << "\n" << input;
    }
  }
  std::printf("%d refused, %d parsed, %d loaded\n", results[0], results[1], results[2]);
  EXPECT_GT(results[1], kEdits / 100) << "no edit gets past the parser: the test sees too little";
  EXPECT_GT(results[2], 0);
}

TEST(HostileCheckpoint, DeepNestingAndHugeNumbersOfKeysAreRefusedInTime) {
  const TemporaryDirectory run(TemporaryDirectory::Where::kMemory);
  const FuzzStep step(run.path());
  const MemoryLimit limit(rlim_t{512} << 20);
  std::string many = "{\"format\":\"retain-checkpoint\"";
  for (int i = 0; i < 200'000; ++i) many += concat(",\"key", i, "\":0");
  for (const std::string& input : {std::string(1 << 20, '['), std::string(1 << 20, '{'), many,
                                   "{\"extra\":" + std::string(500'000, '[') + std::string(500'000, ']')}) {
    EXPECT_EQ(fuzz_one(step, input), FuzzResult::kRefused);
  }
}

}  // namespace
}  // namespace retain::test
