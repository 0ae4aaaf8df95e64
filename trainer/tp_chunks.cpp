#include "trainer/tp_chunks.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace retain {

namespace {

constexpr std::array<int64_t, 4> kCandidates = {1, 2, 4, 8};
constexpr int kWarmups = 2, kSamples = 3;

// Milliseconds of the fastest of a few forwards. The first ones choose the algorithms of products.
double forward_ms(Trainer& trainer, const DeviceBatch& batch) {
  const auto timer = trainer.backend().make_timer();
  double fastest = 0;
  for (int i = 0; i < kWarmups + kSamples; ++i) {
    timer->start();
    trainer.model().forward(batch, RetentionForm::kChunkwise);
    timer->stop();
    const double ms = timer->elapsed_ms();
    if (i == kWarmups || (i > kWarmups && ms < fastest)) fastest = ms;
  }
  return fastest;
}

}  // namespace

bool measures_tp_chunks(const Trainer& trainer) {
  const Config& config = trainer.config();
  return config.parallel.tp_chunks == 0 && config.parallel.tp > 1 && trainer.backend().device() == Device::kCuda;
}

std::string measure_tp_chunks(Trainer& trainer) {
  DeviceBatch zeros = trainer.batch();
  for (const TensorView& part : {zeros.tokens, zeros.targets, zeros.carry}) trainer.backend().fill(part, 0);
  zeros.document_start = {};
  const DeviceBatch batch = zeros.at_segment(0);

  std::array<double, kCandidates.size()> ms{};
  for (size_t i = 0; i < kCandidates.size(); ++i) {
    trainer.model().set_tp_chunks(kCandidates[i]);
    ms[i] = forward_ms(trainer, batch);
  }
  trainer.mesh().host().all_reduce(TensorView(ms.data(), DType::kFloat64, {std::ssize(ms)}), ReduceOp::kMax).wait();
  trainer.model().set_tp_chunks(kCandidates[static_cast<size_t>(std::min_element(ms.begin(), ms.end()) - ms.begin())]);
  std::string times;
  for (size_t i = 0; i < ms.size(); ++i)
    times += fmt::format("{}{}: {:.2f} ms", times.empty() ? "" : ", ", kCandidates[i], ms[i]);
  return times;
}

}  // namespace retain
