// retain bench gemm: the products of a model's step, each in its three passes.
#include <algorithm>

#include "launch/bench/report.h"
#include "launch/config/reader.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "trainer/model/linear.h"
#include "trainer/plan/gpu.h"

namespace retain {

namespace {

using bench::Operand;
using bench::Projection;
using bench::Report;

// The model's defaults are the shape of 1.4 B parameters; the rest only has to be legal.
constexpr const char* kBuiltIn =
    "data: {train: [{path: none}], seq_len: 2048}\n"
    "train: {tokens: 100B, batch_tokens: 16Ki, micro_batch_tokens: 16Ki}\n";

Config read_config(const BenchGemmOptions& options) {
  const auto read = [&](int ranks) -> Config {
    ParsedConfig parsed = options.config.empty()
                              ? parse_config({{{"built in", kBuiltIn}}, "", environment_variable}, options.sets, ranks)
                              : load_config(options.config, options.sets, ranks);
    return std::move(parsed.config);
  };
  const ParallelConfig parallel = read(0).parallel;
  const int64_t ranks = int64_t{std::max(1, parallel.dp)} * std::max(1, parallel.cp) * std::max(1, parallel.tp);
  return read(static_cast<int>(std::min<int64_t>(ranks, 1'000'000)));
}

struct Operands {
  Operand x, w, y, dx, dw;
  Operands(Backend& backend, const Projection& p, DType compute, DType accumulate)
      : x(bench::make_random(backend, compute, p.rows, p.in, 1, 1.0)),
        w(bench::make_random(backend, compute, p.out, p.in, 2, 0.02)),
        y(bench::make_operand(backend, compute, {p.rows, p.out})),
        dx(bench::make_operand(backend, compute, {p.rows, p.in})),
        dw(bench::make_operand(backend, accumulate, {p.out, p.in})) {
    backend.fill(dw.view, 0);
  }
};

}  // namespace

int bench_gemm(const BenchGemmOptions& options) {
  const Config config = read_config(options);
  const Target target = resolve_target(config, cuda_device_count() > 0, threads_per_rank({}));
  const auto backend = make_backend(target, 0);
  const int tp = std::max(1, config.parallel.tp);
  const int64_t tokens =
      options.tokens > 0 ? options.tokens : config.train.micro_batch_tokens / std::max(1, config.parallel.cp);
  const Dimensions dims(config.model, {.sequences = 1, .tokens = tokens}, target.compute, 0, tp, 0, backend->device());
  const double peak = peak_flops(target, backend->device_description());

  Report report("gemm", {{"product"}, {"pass"}, {"m"}, {"n"}, {"k"}, {"ms", 4}, {"tflops", 2}, {"of_peak", 3}});
  bench::describe(report, *backend, target);
  report.fact("tokens", tokens);
  report.fact("tp", tp);
  report.fact("formula",
              "tflops = 2 m n k / time; weight gradients replace " + std::string(dtype_name(dims.accumulate())));

  double step_ms = 0, step_flops = 0;
  for (const Projection& p : bench::projections(dims)) {
    const Operands o(*backend, p, target.compute, dims.accumulate());
    const auto measure = [&](const char* pass, int64_t m, int64_t n, int64_t k, const std::function<void()>& work) {
      const double ms = bench::median_ms(*backend, options.repeats, 1, work);
      const double rate = p.flops() / (ms * 1e-3);
      report.row({p.name, pass, m, n, k, ms, rate / 1e12, bench::ratio(rate, peak)});
      step_ms += p.count * ms;
      step_flops += p.count * p.flops();
    };
    measure("forward", p.rows, p.out, p.in, [&] { linear(*backend, o.x.view, o.w.view, o.y.view); });
    measure("input gradient", p.rows, p.in, p.out,
            [&] { linear_input_gradient(*backend, o.y.view, o.w.view, o.dx.view); });
    measure("weight gradient", p.out, p.in, p.rows,
            [&] { linear_weight_gradient(*backend, o.y.view, o.x.view, o.dw.view, GradientWrite::kReplace); });
  }
  const double rate = step_flops / (step_ms * 1e-3);
  report.row({"all of a step", "all", nullptr, nullptr, nullptr, step_ms, rate / 1e12, bench::ratio(rate, peak)});
  report.print(options.json);
  return 0;
}

}  // namespace retain
