// retain bench retention: the operation alone, on operands laid out as the model's layer has them.
#include <algorithm>
#include <cmath>

#include "kernels/retention_plan.h"
#include "launch/bench/report.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "trainer/model/host_values.h"
#include "trainer/model/retention_tables.h"

namespace retain {

namespace {

using bench::Operand;
using bench::Report;

std::vector<double> decays(const HeadShape& shape) { return log2_gammas(Decay::kEq8, shape.heads, 0, shape.heads); }

RetentionPlan plan_of(const Backend& backend, const HeadShape& shape) {
  const std::vector<double> all = decays(shape);
  return retention_plan({.device = backend.device(),
                         .key_dim = shape.key_dim,
                         .value_dim = shape.value_dim,
                         .least_log2_gamma = *std::min_element(all.begin(), all.end())});
}

// One layer's retention with B sequences of T tokens: q, k, v, g are columns of one matrix, and so are their gradients.
class RetentionLoad {
 public:
  RetentionLoad(Backend& backend, DType compute, const HeadShape& shape, int64_t sequences, int64_t seq_len)
      : backend_(backend),
        shape_(shape),
        sequences_(sequences),
        seq_len_(seq_len),
        plan_(plan_of(backend, shape)),
        qkvg_(bench::make_random(backend, compute, rows(), columns(), 1, 1.0)),
        dqkvg_(bench::make_operand(backend, compute, {rows(), columns()})),
        o_(bench::make_operand(backend, compute, {rows(), values()})),
        dout_(bench::make_random(backend, compute, rows(), values(), 2, 1.0)),
        states_(bench::make_operand(
            backend, compute,
            {sequences, (seq_len + chunk() - 1) / chunk(), shape.heads, shape.key_dim, shape.value_dim})),
        table_(bench::make_operand(backend, accumulate_of(compute), {seq_len, shape.key_dim / 2, 2})),
        log2_gamma_(bench::make_operand(backend, DType::kFloat64, {shape.heads})) {
    const bench::Operand theta = bench::make_operand(backend, DType::kFloat64, {shape.key_dim / 2});
    upload_rounded(backend, theta.view, rotation_frequencies(Rotary::kRope, shape.key_dim));
    backend.rotation_table({.theta = theta.view, .table = table_.view});
    upload_rounded(backend, log2_gamma_.view, decays(shape));
    rotate(q(qkvg_), q(qkvg_), false, 1.0, +1);
    rotate(k(qkvg_), k(qkvg_), false, key_scale(), -1);
  }

  int64_t chunk() const { return plan_.chunk; }
  int64_t rows() const { return sequences_ * seq_len_; }

  void forward() const {
    backend_.retention({.context = context(),
                        .q = q(qkvg_),
                        .k = k(qkvg_),
                        .v = v(qkvg_),
                        .o = heads(o_, 0, values()),
                        .states = states_.view});
  }
  void backward() const {
    backend_.retention_backward({.context = context(),
                                 .q = q(qkvg_),
                                 .k = k(qkvg_),
                                 .v = v(qkvg_),
                                 .states = states_.view,
                                 .dout = heads(dout_, 0, values()),
                                 .dq = q(dqkvg_),
                                 .dk = k(dqkvg_),
                                 .dv = v(dqkvg_)});
  }
  /// Both rotations forward and both backward, not in place, so that they can be repeated.
  void rotations() const {
    for (const bool inverse : {false, true}) {
      rotate(q(qkvg_), q(dqkvg_), inverse, 1.0, +1);
      rotate(k(qkvg_), k(dqkvg_), inverse, key_scale(), -1);
    }
  }

 private:
  int64_t keys() const { return shape_.heads * shape_.key_dim; }
  int64_t values() const { return shape_.heads * shape_.value_dim; }
  int64_t columns() const { return 2 * keys() + 2 * values(); }
  double key_scale() const { return 1.0 / std::sqrt(static_cast<double>(shape_.key_dim)); }

  TensorView heads(const Operand& x, int64_t column, int64_t width) const {
    return x.view.slice(1, column, width).split(1, shape_.heads, width / shape_.heads).split(0, sequences_, seq_len_);
  }
  TensorView q(const Operand& x) const { return heads(x, 0, keys()); }
  TensorView k(const Operand& x) const { return heads(x, keys(), keys()); }
  TensorView v(const Operand& x) const { return heads(x, 2 * keys(), values()); }

  RetentionContext context() const {
    return {.log2_gamma = log2_gamma_.view,
            .folded_chunk = plan_.fold_chunk,
            .form = RetentionForm::kChunkwise,
            .chunk = chunk()};
  }
  void rotate(const TensorView& x, const TensorView& y, bool inverse, double scale, int fold_sign) const {
    backend_.rotate({.x = x,
                     .y = y,
                     .table = table_.view,
                     .log2_gamma = log2_gamma_.view,
                     .inverse = inverse,
                     .scale = scale,
                     .fold_chunk = plan_.fold_chunk,
                     .fold_sign = fold_sign});
  }

  Backend& backend_;
  HeadShape shape_;
  int64_t sequences_, seq_len_;
  RetentionPlan plan_;
  Operand qkvg_, dqkvg_, o_, dout_, states_, table_, log2_gamma_;
};

}  // namespace

int bench_retention(const BenchRetentionOptions& options) {
  Config config;
  config.device = options.device;
  config.precision = options.precision;
  const Target target = resolve_target(config, cuda_device_count() > 0, threads_per_rank({}));
  const auto backend = make_backend(target, 0);
  // The floor is an H200's, in bf16.
  const bool has_floor = target.device == DeviceKind::kCuda && target.compute == DType::kBfloat16;

  Report report("retention", {{"heads"},
                              {"key_dim"},
                              {"value_dim"},
                              {"chunk"},
                              {"seq_len"},
                              {"sequences"},
                              {"forward_ms", 3},
                              {"forward_backward_ms", 3},
                              {"rotations_ms", 3},
                              {"floor_ms", 3},
                              {"over_floor", 2}});
  bench::describe(report, *backend, target);
  report.fact("tokens", options.tokens);
  report.fact("times",
              "per `tokens` tokens of one layer; rotations: q and k, forward and backward, the decay folded in");
  report.fact("floor", has_floor ? Report::Value(bench::kRetentionFloorFormula) : Report::Value());

  for (const HeadShape& shape : options.shapes) {
    for (const int64_t seq_len : options.seq_lens) {
      const int64_t sequences = std::max<int64_t>(1, options.tokens / seq_len);
      const RetentionLoad load(*backend, target.compute, shape, sequences, seq_len);
      const double scale = static_cast<double>(options.tokens) / static_cast<double>(load.rows());
      const auto measure = [&](const std::function<void()>& work) {
        return scale * bench::median_ms(*backend, options.repeats, 1, work);
      };
      const double forward = measure([&] { load.forward(); });
      const double both = measure([&] {
        load.forward();
        load.backward();
      });
      const double rotations = measure([&] { load.rotations(); });
      const bench::RetentionFloor ns = bench::retention_floor(shape.key_dim, shape.value_dim, load.chunk());
      const double floor =
          has_floor ? 1e-6 * (ns.forward_ns + ns.backward_ns) * static_cast<double>(options.tokens * shape.heads) : 0;
      report.row({shape.heads, shape.key_dim, shape.value_dim, load.chunk(), seq_len, sequences, forward, both,
                  rotations, has_floor ? Report::Value(floor) : Report::Value(), bench::ratio(both, floor)});
    }
  }
  report.print(options.json);
  return 0;
}

}  // namespace retain
