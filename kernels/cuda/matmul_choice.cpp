#include "kernels/cuda/matmul_choice.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/cuda/handles.h"
#include "kernels/cuda/launch.h"

namespace retain::cuda {

namespace {

constexpr int kBurst = 3;              // timed runs of a candidate in a burst, after one to warm up
constexpr double kBurstSeconds = 0.2;  // for the bursts of all candidates

// A short product's finalists are measured again, in turns, so that a clock that falls meanwhile falls for all of them.
constexpr int kFinalists = 4;
constexpr int kRounds = 5;
constexpr float kMargin = 0.98F;  // another candidate than the first must be clearly faster: less chance of noise

// A long product runs where the GPU's power limit sets the clock, and the algorithm that is fastest in a burst may draw
// the most: one that was 13 % slower in a burst was 5 % faster sustained. So a long product's finalists run on and on,
// one after another: the fastest in a burst, and the library's first guesses, which often are the frugal ones.
constexpr float kLongMs = 0.1F;  // from here on a product is long
constexpr size_t kFastest = 2, kFirstGuesses = 2;
constexpr float kSettleMs = 60;  // the clock follows the power within 40 to 80 ms
constexpr float kSustainedMs = 40;
constexpr float kSustainedMargin = 0.99F;

struct Contender {
  int candidate;
  float ms;
};

/// Times runs of candidates on one stream.
class Stopwatch {
 public:
  Stopwatch(const char* operation, const std::function<bool(int)>& run, cudaStream_t stream)
      : operation_(operation), run_(run), stream_(stream), begin_(make_event(true)), end_(make_event(true)) {}

  /// Milliseconds of one run, averaged over `runs` in a row that follow `before` others.
  float ms(int candidate, int before, int runs) const {
    for (int r = 0; r < before; ++r) run_(candidate);
    CUDA_CHECK(cudaEventRecord(begin_.get(), stream_), operation_);
    for (int r = 0; r < runs; ++r) run_(candidate);
    CUDA_CHECK(cudaEventRecord(end_.get(), stream_), operation_);
    CUDA_CHECK(cudaEventSynchronize(end_.get()), operation_, ": measuring its products");
    float elapsed = 0;
    CUDA_CHECK(cudaEventElapsedTime(&elapsed, begin_.get(), end_.get()), operation_);
    return elapsed / static_cast<float>(runs);
  }

 private:
  const char* operation_;
  const std::function<bool(int)>& run_;
  cudaStream_t stream_;
  Event begin_, end_;
};

float median(std::vector<float> x) {
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

/// The first of the contenders that the fastest does not beat by more than the margin.
int first_within(const std::vector<Contender>& contenders, float margin) {
  const auto faster = [](const Contender& x, const Contender& y) { return x.ms < y.ms; };
  const float least_ms = std::min_element(contenders.begin(), contenders.end(), faster)->ms;
  int first = contenders.front().candidate;
  bool found = false;
  for (const Contender& contender : contenders) {
    if (margin * contender.ms > least_ms) continue;
    first = found ? std::min(first, contender.candidate) : contender.candidate;
    found = true;
  }
  return first;
}

}  // namespace

int choose_candidate(const char* operation, int count, const std::function<bool(int)>& run, cudaStream_t stream) {
  const Stopwatch stopwatch(operation, run, stream);
  CUDA_CHECK(cudaDeviceSynchronize(), operation);

  std::vector<Contender> contenders;  // the fastest in a burst first
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    if (!run(i)) continue;
    contenders.push_back({i, stopwatch.ms(i, 0, kBurst)});
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() > kBurstSeconds) break;
  }
  if (contenders.empty()) return 0;
  std::stable_sort(contenders.begin(), contenders.end(),
                   [](const Contender& x, const Contender& y) { return x.ms < y.ms; });

  std::vector<Contender> finalists;
  if (contenders.front().ms < kLongMs) {
    for (size_t i = 0; i < contenders.size() && i < kFinalists; ++i) finalists.push_back(contenders[i]);
    std::vector<std::vector<float>> rounds(finalists.size());
    for (int round = 0; round < kRounds; ++round) {
      for (size_t i = 0; i < finalists.size(); ++i) rounds[i].push_back(stopwatch.ms(finalists[i].candidate, 1, 1));
    }
    for (size_t i = 0; i < finalists.size(); ++i) finalists[i].ms = median(rounds[i]);
    return first_within(finalists, kMargin);
  }
  for (size_t i = 0; i < contenders.size(); ++i) {
    if (i < kFastest || contenders[i].candidate < static_cast<int>(kFirstGuesses)) finalists.push_back(contenders[i]);
  }
  for (Contender& finalist : finalists) {
    const auto runs_in = [&](float ms) { return static_cast<int>(ms / finalist.ms) + 1; };
    finalist.ms = stopwatch.ms(finalist.candidate, runs_in(kSettleMs), runs_in(kSustainedMs));
  }
  return first_within(finalists, kSustainedMargin);
}

}  // namespace retain::cuda
