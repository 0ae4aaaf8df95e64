// kernels_bench [tokens [device]]: the memory-bound operations at the shapes of the 1.4 B model (hidden 2048, 8 heads
// 256/512, FFN 2816, vocabulary 50304), beside what their bytes take at the device's copy rate. Times are medians by
// device events. The rate counts each operand read or written once.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "kernels/core/random.h"

namespace retain {
namespace {

constexpr double kCopyRate = 4.25e12;  // bytes a second, read and written, measured on an H200
constexpr int64_t kHidden = 2048, kHeads = 8, kKey = 256, kValue = 512, kFfn = 2816, kVocab = 50304;

class Bench {
 public:
  explicit Bench(Backend& backend) : backend_(backend), timer_(backend.make_timer()) {}

  TensorView empty(DType dtype, std::initializer_list<int64_t> shape) {
    Buffer& buffer = buffers_.emplace_back(backend_, TensorView(nullptr, dtype, shape).bytes());
    return {buffer.data(), dtype, shape};
  }
  /// N(0, 1): zeros would take less power, and so less time, than real values.
  TensorView random(DType dtype, std::initializer_list<int64_t> shape) {
    const TensorView out = empty(dtype, shape);
    const int64_t n = out.elements();
    const Buffer wide(backend_, n * 4);
    const TensorView x(wide.data(), DType::kFloat32, {1, n});
    backend_.fill_normal({.x = x, .key = static_cast<uint64_t>(buffers_.size()), .global_columns = n});
    backend_.copy(out.reshaped({1, n}), x);
    return out;
  }
  TensorView integers(const std::vector<int32_t>& values) {
    const TensorView x = empty(DType::kInt32, {static_cast<int64_t>(values.size())});
    backend_.upload(x, values.data());
    return x;
  }
  void release() { buffers_.clear(); }

  void measure(const char* name, double bytes, const std::function<void()>& work) {
    constexpr int kRepeats = 11;
    for (int i = 0; i < 3; ++i) work();
    std::vector<double> ms(kRepeats);
    for (double& sample : ms) {
      timer_->start();
      work();
      timer_->stop();
      sample = timer_->elapsed_ms();
    }
    std::nth_element(ms.begin(), ms.begin() + kRepeats / 2, ms.end());
    const double seconds = ms[kRepeats / 2] * 1e-3;
    std::printf("%-28s %9.4f ms %8.0f GB/s %6.1f %% of copy\n", name, seconds * 1e3, bytes / seconds * 1e-9,
                100 * bytes / kCopyRate / seconds);
  }

 private:
  Backend& backend_;
  std::unique_ptr<DeviceTimer> timer_;
  std::vector<Buffer> buffers_;
};

void bench_norms(Backend& backend, Bench& b, int64_t n) {
  const auto bf16 = DType::kBfloat16, fp32 = DType::kFloat32;
  const double row = static_cast<double>(n * kHidden) * 2;
  const TensorView x = b.random(bf16, {n, kHidden}), residual = b.random(bf16, {n, kHidden});
  const TensorView sum = b.empty(bf16, {n, kHidden}), y = b.empty(bf16, {n, kHidden});
  const TensorView weight = b.random(fp32, {kHidden}), dweight = b.random(fp32, {kHidden}), rstd = b.random(fp32, {n});
  b.measure("copy", 2 * row, [&] { backend.copy(y, x); });
  b.measure("rms_norm", 2 * row, [&] { backend.rms_norm({.x = x, .weight = weight, .y = y, .rstd = rstd}); });
  b.measure("rms_norm + residual", 4 * row, [&] {
    backend.rms_norm({.x = x, .residual = residual, .weight = weight, .sum = sum, .y = y, .rstd = rstd});
  });
  b.measure("rms_norm_backward", 4 * row, [&] {
    backend.rms_norm_backward(
        {.dy = x, .x = sum, .weight = weight, .rstd = rstd, .dresidual = residual, .dx = y, .dweight = dweight});
  });
  b.release();
}

void bench_heads(Backend& backend, Bench& b, int64_t n) {
  const auto bf16 = DType::kBfloat16, fp32 = DType::kFloat32;
  const int64_t sequences = std::max<int64_t>(1, n / 2048), tokens = n / sequences;
  const double keys = static_cast<double>(n * kHeads * kKey) * 2, values = static_cast<double>(n * kHeads * kValue) * 2;
  const TensorView q = b.random(bf16, {sequences, tokens, kHeads, kKey});
  const TensorView table = b.random(fp32, {tokens, kKey / 2, 2});
  const TensorView log2_gamma = b.empty(DType::kFloat64, {kHeads});
  backend.fill(log2_gamma, -0.01);
  b.measure("rotate (q or k)", 2 * keys, [&] {
    backend.rotate({.x = q, .y = q, .table = table, .log2_gamma = log2_gamma, .fold_chunk = 256, .fold_sign = 1});
  });
  const TensorView o = b.random(bf16, {sequences, tokens, kHeads, kValue});
  const TensorView g = b.random(bf16, {sequences, tokens, kHeads, kValue});
  const TensorView dy = b.random(bf16, {sequences, tokens, kHeads, kValue});
  const TensorView y = b.empty(bf16, {sequences, tokens, kHeads, kValue});
  const TensorView dg = b.empty(bf16, {sequences, tokens, kHeads, kValue});
  const TensorView weight = b.random(fp32, {kValue}), dweight = b.random(fp32, {kValue});
  const TensorView rstd = b.random(fp32, {sequences, tokens, kHeads});
  b.measure("head_norm_gate", 3 * values,
            [&] { backend.head_norm_gate({.o = o, .g = g, .weight = weight, .y = y, .rstd = rstd}); });
  b.measure("head_norm_gate_backward", 5 * values, [&] {
    backend.head_norm_gate_backward(
        {.dy = dy, .o = o, .g = g, .weight = weight, .rstd = rstd, .dout = y, .dg = dg, .dweight = dweight});
  });
  b.release();
}

/// One sequence of n tokens, all of whose chunks see what comes in.
void bench_states(Backend& backend, Bench& b, int64_t n) {
  constexpr int64_t kChunk = 256;
  const TensorView states = b.random(DType::kBfloat16, {1, (n + kChunk - 1) / kChunk, kHeads, kKey, kValue});
  const TensorView state = b.random(DType::kFloat32, {1, kHeads, kKey, kValue});
  const TensorView log2_gamma = b.empty(DType::kFloat64, {kHeads});
  backend.fill(log2_gamma, -1e-4);
  const RetentionContext context{.log2_gamma = log2_gamma, .folded_chunk = kChunk, .chunk = kChunk};
  b.measure("retention_add_state", static_cast<double>(2 * states.bytes() + state.bytes()),
            [&] { backend.retention_add_state({.context = context, .state = state, .states = states, .tokens = n}); });
  b.release();
}

void bench_ffn_and_embedding(Backend& backend, Bench& b, int64_t n) {
  const auto bf16 = DType::kBfloat16;
  const double half = static_cast<double>(n * kFfn) * 2, row = static_cast<double>(n * kHidden) * 2;
  const TensorView ab = b.random(bf16, {n, 2 * kFfn}), dh = b.random(bf16, {n, kFfn}), h = b.empty(bf16, {n, kFfn});
  const TensorView dab = b.empty(bf16, {n, 2 * kFfn});
  const auto part = [](const TensorView& x, int64_t i) { return x.slice(1, i * kFfn, kFfn); };
  b.measure("swiglu", 3 * half, [&] { backend.ffn_activation({.a = part(ab, 0), .b = part(ab, 1), .h = h}); });
  b.measure("swiglu_backward", 5 * half, [&] {
    backend.ffn_activation_backward(
        {.dh = dh, .a = part(ab, 0), .b = part(ab, 1), .da = part(dab, 0), .db = part(dab, 1)});
  });

  std::vector<int32_t> tokens(static_cast<size_t>(n)), order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {  // as skewed as text: one token in sixteen is the most frequent one
    const uint64_t bits = philox_bits(1, static_cast<uint64_t>(i));
    tokens[i] = bits % 16 == 0 ? 7 : static_cast<int32_t>(bits / 16 % kVocab);
  }
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) { return tokens[i] < tokens[j]; });
  const TensorView ids = b.integers(tokens), sorted = b.integers(order), x = b.random(bf16, {n, kHidden});
  const TensorView weight = b.random(bf16, {kVocab, kHidden});
  const TensorView dweight = b.random(DType::kFloat32, {kVocab, kHidden});
  b.measure("embedding", 2 * row, [&] { backend.embedding({.tokens = ids, .weight = weight, .x = x}); });
  b.measure("embedding_backward", 5 * row,
            [&] { backend.embedding_backward({.tokens = ids, .token_order = sorted, .dx = x, .dweight = dweight}); });
  b.release();
}

void bench_loss(Backend& backend, Bench& b, int64_t n) {
  const int64_t rows = std::min<int64_t>(n, 8192);
  const TensorView logits = b.random(DType::kBfloat16, {rows, kVocab});
  const TensorView targets = b.integers(std::vector<int32_t>(static_cast<size_t>(rows), 5));
  const TensorView loss = b.empty(DType::kFloat32, {rows}), statistics = b.empty(DType::kFloat32, {rows, 3});
  const double bytes = static_cast<double>(logits.bytes());
  b.measure("cross_entropy (8192 rows)", 2 * bytes,
            [&] { backend.cross_entropy({.logits = logits, .targets = targets, .loss = loss, .valid = kVocab}); });
  b.measure("cross_entropy_statistics", bytes, [&] {
    backend.cross_entropy_statistics({.logits = logits, .targets = targets, .statistics = statistics, .valid = kVocab});
  });
  b.release();
}

void bench_optimizer(Backend& backend, Bench& b) {
  constexpr int64_t kParameters = int64_t{256} << 20;
  const auto n = static_cast<double>(kParameters);
  const TensorView gradient = b.random(DType::kFloat32, {kParameters});
  const TensorView master = b.random(DType::kFloat32, {kParameters}), m = b.random(DType::kFloat32, {kParameters});
  const TensorView v = b.empty(DType::kFloat32, {kParameters}), weight = b.empty(DType::kBfloat16, {kParameters});
  const TensorView scale = b.empty(DType::kFloat64, {1}), out = b.empty(DType::kFloat64, {1});
  const TensorView rates = b.empty(DType::kFloat64, {3});
  backend.fill(v, 1);
  backend.fill(scale, 1);
  backend.fill(rates, 1);
  b.measure("sum of squares (268 M)", 4 * n,
            [&] { backend.reduce({.kind = ReduceKind::kSumOfSquares, .x = gradient, .out = out}); });
  const TensorView print = b.empty(DType::kInt32, {2});
  b.measure("fingerprint f32 (268 M)", 4 * n, [&] {
    backend.fingerprint({.x = gradient.reshaped({1, gradient.elements()}), .out = print});
  });
  b.measure("fingerprint bf16 (268 M)", 2 * n, [&] {
    backend.fingerprint({.x = weight.reshaped({1, weight.elements()}), .out = print});
  });
  b.measure("adamw (268 M)", 30 * n, [&] {
    backend.adamw({.gradient = gradient,
                   .master = master,
                   .m = m,
                   .v = v,
                   .weight = weight,
                   .grad_scale = scale,
                   .rates = rates});
  });
  b.measure("fill 0 (268 M)", 4 * n, [&] { backend.fill(gradient, 0); });
  b.measure("cast to bf16 (268 M)", 6 * n, [&] { backend.copy(weight, master); });
  b.release();
}

// Products and states of as many layers as no cache holds, one after the other, as a token goes through them.
constexpr int64_t kLayers = 8;

void bench_project(Backend& backend, Bench& b, const char* name, int64_t rows, int64_t in, int64_t out, bool norm,
                   std::optional<FfnKind> activation, bool adds) {
  std::vector<TensorView> weights;
  for (int64_t layer = 0; layer < kLayers; ++layer) weights.push_back(b.random(DType::kBfloat16, {out, in}));
  const TensorView x = b.random(DType::kBfloat16, {rows, in}), scale = b.random(DType::kFloat32, {in});
  const TensorView y = b.random(DType::kBfloat16, {rows, activation ? out / 2 : out});
  const TensorView normed = b.empty(DType::kBfloat16, {rows, in}), rstd = b.empty(DType::kFloat32, {rows});
  const TensorView product = b.empty(DType::kBfloat16, {rows, out});
  b.measure(name, static_cast<double>(kLayers * out * in * 2), [&] {
    for (const TensorView& weight : weights) {
      backend.project({.x = x,
                       .norm = norm ? scale : TensorView{},
                       .weight = weight,
                       .y = y,
                       .normed = normed,
                       .rstd = rstd,
                       .product = product,
                       .activation = activation,
                       .adds = adds});
    }
  });
  b.release();
}

void bench_retention_step(Backend& backend, Bench& b, int64_t rows) {
  constexpr int64_t kKeys = kHeads * kKey, kValues = kHeads * kValue;
  std::vector<TensorView> states;
  for (int64_t layer = 0; layer < kLayers; ++layer)
    states.push_back(b.random(DType::kFloat32, {rows, kHeads, kKey, kValue}));
  const TensorView qkvg = b.random(DType::kBfloat16, {rows, 2 * kKeys + 2 * kValues});
  const TensorView y = b.empty(DType::kBfloat16, {rows, kHeads, kValue});
  const TensorView table = b.random(DType::kFloat32, {rows, kKey / 2, 2}),
                   log2_gamma = b.empty(DType::kFloat64, {kHeads});
  backend.fill(log2_gamma, -0.01);
  std::vector<int32_t> slots(static_cast<size_t>(rows));
  std::iota(slots.begin(), slots.end(), 0);
  const TensorView slot = b.integers(slots);
  const auto heads = [&](int64_t column, int64_t width) {
    return qkvg.slice(1, column, kHeads * width).split(1, kHeads, width);
  };
  b.measure("retention_step", static_cast<double>(2 * kLayers * states[0].bytes()), [&] {
    for (const TensorView& layer : states) {
      backend.retention_step({.q = heads(0, kKey),
                              .k = heads(kKeys, kKey),
                              .v = heads(2 * kKeys, kValue),
                              .g = heads(2 * kKeys + kValues, kValue),
                              .table = table,
                              .log2_gamma = log2_gamma,
                              .states = layer,
                              .slots = slot,
                              .y = y});
    }
  });
  b.release();
}

void bench_sampling(Backend& backend, Bench& b, int64_t rows) {
  const TensorView logits = b.random(DType::kBfloat16, {rows, kVocab}), tokens = b.empty(DType::kInt32, {rows});
  const TensorView options = b.empty(DType::kFloat32, {rows, 3}), zeros = b.empty(DType::kInt32, {rows});
  const TensorView keys = b.empty(DType::kInt32, {rows, 2});
  backend.fill(options, 0.9);
  backend.fill(options.slice(1, 2, 1), 0);
  backend.fill(zeros, 0);
  backend.fill(keys, 3);
  std::vector<int32_t> places(static_cast<size_t>(rows));
  std::iota(places.begin(), places.end(), 0);
  const TensorView place = b.integers(places);
  b.measure("sample_tokens", static_cast<double>(logits.bytes()), [&] {
    backend.sample_tokens({.logits = logits,
                           .options = options,
                           .top_k = zeros,
                           .keys = keys,
                           .positions = place,
                           .places = place,
                           .tokens = tokens});
  });
  b.release();
}

void bench_decoding(Backend& backend, Bench& b) {
  constexpr int64_t kKeys = kHeads * kKey, kValues = kHeads * kValue;
  for (const int64_t rows : {1, 2, 4, 8, 64, 256}) {
    std::printf("decoding %lld sequences\n", static_cast<long long>(rows));
    bench_project(backend, b, "project: q,k,v,g", rows, kHidden, 2 * kKeys + 2 * kValues, true, {}, false);
    bench_retention_step(backend, b, rows);
    bench_project(backend, b, "project: out", rows, kValues, kHidden, false, {}, true);
    bench_project(backend, b, "project: ffn in", rows, kHidden, 2 * kFfn, true, FfnKind::kSwiglu, false);
    bench_project(backend, b, "project: ffn down", rows, kFfn, kHidden, false, {}, true);
    bench_project(backend, b, "project: head", rows, kHidden, kVocab, true, {}, false);
    bench_sampling(backend, b, rows);
  }
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  const int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 16384;
  try {
    const auto backend = retain::make_cuda_backend(argc > 2 ? std::atoi(argv[2]) : 0);
    std::printf("%s, %lld tokens\n", backend->device_description().c_str(), static_cast<long long>(tokens));
    retain::Bench bench(*backend);
    retain::bench_norms(*backend, bench, tokens);
    retain::bench_heads(*backend, bench, tokens);
    retain::bench_states(*backend, bench, tokens);
    retain::bench_ffn_and_embedding(*backend, bench, tokens);
    retain::bench_loss(*backend, bench, tokens);
    retain::bench_optimizer(*backend, bench);
    retain::bench_decoding(*backend, bench);
  } catch (const retain::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
  return 0;
}
