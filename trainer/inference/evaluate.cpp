#include "trainer/inference/evaluate.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "parallel/agreement.h"
#include "trainer/model/host_values.h"

namespace retain {

namespace {

/// A batch of this rank; none where a rank is asked to stop.
std::optional<HostBatch> load(const EvalWindows& windows, int64_t index, Communicator& host, bool asked_to_stop) {
  std::optional<HostBatch> batch;
  const Outcome read = attempt([&] { batch = windows.load(index); });
  std::array<int32_t, 2> somewhere = {asked_to_stop ? 1 : 0, read.ok ? 0 : 1};
  host.all_reduce(TensorView(somewhere.data(), DType::kInt32, {2}), ReduceOp::kMax).wait();
  if (somewhere[1] != 0) agree(host, read).throw_if_failed();
  if (somewhere[0] != 0) return std::nullopt;
  return batch;
}

}  // namespace

double EvalResult::perplexity() const { return std::exp(loss); }

EvalResult evaluate(Backend& backend, Mesh& mesh, RetNet& model, const EvalWindows& windows, const DeviceBatch& memory,
                    RetentionForm form, const std::function<bool()>& asked_to_stop) {
  const BatchShape shape = model.dims().batch;
  const auto bucket_of = [](int64_t position) {
    return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(position)));
  };
  const size_t buckets = bucket_of(windows.window_tokens() - 1) + 1;

  // Sums of losses and counts by bucket, then bytes of text and tokens without one; tp ranks hold the same values, so
  // only the first adds its own.
  std::vector<double> sums(2 * buckets + 2, 0.0);
  double &text_bytes = sums[2 * buckets], &without_text = sums[2 * buckets + 1];
  for (int64_t i = 0; i < windows.count(); ++i) {
    const std::optional<HostBatch> host = load(windows, i, mesh.host(), asked_to_stop());
    if (!host) return {.complete = false};
    const DeviceBatch batch = upload_batch(backend, *host, memory);
    for (int64_t s = 0; s < shape.segment_count; ++s) {
      const DeviceBatch segment = batch.at_segment(s);
      model.forward(segment, form);
      const std::vector<double> losses = download_wide(backend, model.loss(segment));
      if (mesh.at().tp != 0) continue;
      for (int64_t row = 0; row < shape.rows(); ++row) {
        const int32_t target = host->targets[s * shape.rows() + row];
        if (target < 0) continue;
        const size_t bucket = bucket_of(segment.position_offset + row % shape.tokens);
        sums[bucket] += losses[row];
        sums[buckets + bucket] += 1;
        const std::optional<int64_t> bytes = windows.documents().text_bytes(target);
        text_bytes += static_cast<double>(bytes.value_or(0));
        without_text += bytes ? 0 : 1;
      }
    }
  }
  mesh.host()
      .all_reduce(TensorView(sums.data(), DType::kFloat64, {static_cast<int64_t>(sums.size())}), ReduceOp::kSum)
      .wait();

  EvalResult result;
  double total = 0, count = 0;
  for (size_t b = 0; b < buckets; ++b) {
    const double n = sums[buckets + b];
    result.loss_by_position.push_back(n > 0 ? sums[b] / n : std::numeric_limits<double>::quiet_NaN());
    total += sums[b];
    count += n;
  }
  result.tokens = static_cast<int64_t>(count);
  result.loss = count > 0 ? total / count : std::numeric_limits<double>::quiet_NaN();
  if (text_bytes > 0 && without_text == 0) result.bits_per_byte = total / (std::numbers::ln2 * text_bytes);
  return result;
}

}  // namespace retain
