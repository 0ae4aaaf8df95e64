#include "kernels/cuda/matmul_choice.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "kernels/cuda/handles.h"
#include "kernels/cuda/wait.h"

namespace retain::cuda {

namespace {

constexpr int kBurst = 3;              // timed runs of a candidate in a burst
constexpr double kBurstSeconds = 0.2;  // for the bursts of all candidates

// The finalists are measured again, in turns, so that a clock that falls meanwhile falls for all of them. To run each
// alone until the power limit has set its clock finds other algorithms, which made the step no faster.
constexpr size_t kFinalists = 4;
constexpr int kRounds = 5;
constexpr float kMargin = 0.98F;  // another candidate than the first must be clearly faster: less chance of noise

struct Contender {
  int candidate;
  float ms;
};

float median(std::vector<float> x) {
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

bool faster(const Contender& x, const Contender& y) { return x.ms < y.ms; }

}  // namespace

int choose_candidate(const char* operation, int count, const std::function<bool(int)>& run, cudaStream_t stream,
                     Activity& activity) {
  const Event begin = make_event(true), end = make_event(true);
  // Milliseconds of one run, averaged over `runs` in a row, right after one to warm up.
  const auto time = [&](int candidate, int runs) {
    run(candidate);
    CUDA_CHECK(cudaEventRecord(begin.get(), stream), operation);
    for (int r = 0; r < runs; ++r) run(candidate);
    CUDA_CHECK(cudaEventRecord(end.get(), stream), operation);
    wait_for(activity, end.get(), "measuring products");
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()), operation);
    return ms / static_cast<float>(runs);
  };
  CUDA_CHECK(cudaDeviceSynchronize(), operation);  // of all streams, for which there is nothing to look at

  std::vector<Contender> contenders;  // the fastest in a burst first
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    if (!run(i)) continue;
    contenders.push_back({i, time(i, kBurst)});
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() > kBurstSeconds) break;
  }
  if (contenders.empty()) return 0;
  std::stable_sort(contenders.begin(), contenders.end(), faster);

  const auto finalists = std::span(contenders).first(std::min(contenders.size(), kFinalists));
  std::vector<std::vector<float>> rounds(finalists.size());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < finalists.size(); ++i) rounds[i].push_back(time(finalists[i].candidate, 1));
  }
  for (size_t i = 0; i < finalists.size(); ++i) finalists[i].ms = median(rounds[i]);

  // The first of those that the fastest does not beat by more than the margin.
  const float least_ms = std::min_element(finalists.begin(), finalists.end(), faster)->ms;
  int first = count;
  for (const Contender& finalist : finalists) {
    if (kMargin * finalist.ms <= least_ms) first = std::min(first, finalist.candidate);
  }
  return first;
}

}  // namespace retain::cuda
