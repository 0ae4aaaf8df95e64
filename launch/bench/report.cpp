#include "launch/bench/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <iostream>

#include "trainer/plan/gpu.h"

namespace retain::bench {

namespace {

constexpr int kWarmUps = 3;

std::string cell_text(const Report::Value& value, int decimals) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.{}f}", value.get<double>(), decimals);
  return value.dump();
}

std::string fact_text(const Report::Value& value) {
  return value.is_number_float() ? fmt::format("{:.6g}", value.get<double>()) : cell_text(value, 0);
}

}  // namespace

double median(std::vector<double> values) {
  RETAIN_CHECK(!values.empty(), "the median of nothing");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_ms(Backend& backend, int repeats, int calls, const std::function<void()>& work) {
  std::vector<std::unique_ptr<DeviceTimer>> timers;
  for (int i = 0; i < repeats; ++i) timers.push_back(backend.make_timer());
  for (int i = 0; i < kWarmUps; ++i) work();
  for (const auto& timer : timers) {
    timer->start();
    for (int i = 0; i < calls; ++i) work();
    timer->stop();
  }
  std::vector<double> samples;
  for (const auto& timer : timers) samples.push_back(timer->elapsed_ms() / calls);
  return median(std::move(samples));
}

Operand make_operand(Backend& backend, DType dtype, std::initializer_list<int64_t> shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  Operand operand{.buffer = Buffer(backend, elements * dtype_bytes(dtype)), .view = {}};
  operand.view = TensorView(operand.buffer.data(), dtype, shape);
  return operand;
}

Operand make_random(Backend& backend, DType dtype, int64_t rows, int64_t columns, uint64_t key, double std) {
  Operand operand = make_operand(backend, dtype, {rows, columns});
  const auto fill = [&](const TensorView& x) {
    backend.fill_normal({.x = x, .key = key, .std = std, .global_columns = columns});
  };
  if (dtype == DType::kFloat32 || dtype == DType::kFloat64) {
    fill(operand.view);
    return operand;
  }
  const Operand wide = make_operand(backend, DType::kFloat32, {rows, columns});
  fill(wide.view);
  backend.copy(operand.view, wide.view);
  backend.synchronize();  // the wide values go away
  return operand;
}

std::vector<Projection> projections(const Dimensions& dims) {
  const int64_t n = dims.rows(), d = dims.model.hidden_size;
  const auto layers = static_cast<double>(dims.model.layers);
  return {
      {"q,k,v,g", n, d, dims.qkvg_columns(), layers},
      {"out", n, dims.values(), d, layers},
      {"ffn in", n, d, dims.ffn_columns(), layers},
      {"ffn down", n, dims.ffn_size, d, layers},
      {"head", dims.logits_rows, d, dims.vocab_rows, static_cast<double>(n) / static_cast<double>(dims.logits_rows)}};
}

const char* const kRetentionFloorFormula =
    "ns a token and head = sum over kernels of max(flop / 550e12, bytes / 4.3e12), w = (C + min(C, 128)) / 2: "
    "states 2KV, 2(K+V) + 2KV/C; forward 2KV + 2w(K+V), 4K + 4V + 2KV/C; "
    "backward states as forward's, then 6KV + 2w(3K+2V), 8K + 6V + 4KV/C";

RetentionFloor retention_floor(int64_t key_dim, int64_t value_dim, int64_t chunk) {
  const auto k = static_cast<double>(key_dim), v = static_cast<double>(value_dim), c = static_cast<double>(chunk);
  const double w = (c + std::min(c, 128.0)) / 2;  // scores a row that are computed
  const double state = 2 * k * v / c;             // bytes of a chunk's state, a token
  const auto kernel = [](double flop, double bytes) { return 1e9 * std::max(flop / 550e12, bytes / 4.3e12); };
  const double states = kernel(2 * k * v, 2 * (k + v) + state);
  return {.forward_ns = states + kernel(2 * k * v + 2 * w * (k + v), 4 * k + 4 * v + state),
          .backward_ns = states + kernel(6 * k * v + 2 * w * (3 * k + 2 * v), 8 * k + 6 * v + 2 * state)};
}

double bus_factor(Collective collective, int ranks) {
  const double others = static_cast<double>(ranks - 1) / ranks;
  return collective == Collective::kAllReduce ? 2 * others : others;
}

void Report::row(std::vector<Value> cells) {
  RETAIN_CHECK(cells.size() == columns_.size(), cells.size(), " cells for ", columns_.size(), " columns");
  rows_.push_back(std::move(cells));
}

std::string Report::text() const {
  std::string text;
  size_t width = 0;
  for (const auto& fact : facts_.items()) width = std::max(width, fact.key().size());
  for (const auto& fact : facts_.items()) {
    text += fmt::format("{:<{}}  {}\n", fact.key(), width, fact_text(fact.value()));
  }
  std::vector<std::vector<std::string>> table(1);
  for (const Column& column : columns_) table[0].push_back(column.name);
  for (const auto& row : rows_) {
    table.emplace_back();
    for (size_t i = 0; i < row.size(); ++i) table.back().push_back(cell_text(row[i], columns_[i].decimals));
  }
  text += "\n";
  for (const auto& line : table) {
    for (size_t i = 0; i < line.size(); ++i) {
      size_t column = 0;
      for (const auto& other : table) column = std::max(column, other[i].size());
      const bool left = !rows_.empty() && rows_[0][i].is_string();
      text += left ? fmt::format("{}{:<{}}", i ? "  " : "", line[i], column)
                   : fmt::format("{}{:>{}}", i ? "  " : "", line[i], column);
    }
    text.resize(text.find_last_not_of(' ') + 1);
    text += "\n";
  }
  return text;
}

std::string Report::json() const {
  Value document = {{"schema", 1}, {"bench", name_}};
  for (const auto& fact : facts_.items()) document[fact.key()] = fact.value();
  document["rows"] = Value::array();
  for (const auto& row : rows_) {
    Value object = Value::object();
    for (size_t i = 0; i < row.size(); ++i) object[columns_[i].name] = row[i];
    document["rows"].push_back(std::move(object));
  }
  return document.dump(2) + "\n";
}

void Report::print(bool as_json) const { std::cout << (as_json ? json() : text()); }

void describe(Report& report, const Backend& backend, const Target& target) {
  report.fact("device", backend.device_description());
  report.fact("compute", dtype_name(target.compute));
  const double peak = peak_flops(target, backend.device_description());
  report.fact("peak_tflops", peak > 0 ? Report::Value(peak / 1e12) : Report::Value());
}

Report::Value ratio(double x, double of) { return of > 0 ? Report::Value(x / of) : Report::Value(); }

}  // namespace retain::bench
