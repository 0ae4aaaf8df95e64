// What the verbs of retain bench share: how time is taken, the formulas that results are compared with, and how
// results are printed.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/memory.h"
#include "launch/command_line/command_line.h"
#include "trainer/plan/plan.h"

namespace retain::bench {

// ---- time ----

/// The mean of the two middle values when their number is even. `values` is not empty.
double median(std::vector<double> values);

/// Milliseconds of one call of `work`: the median of `repeats` samples of `calls` calls each, after a few calls to warm
/// up. Everything is queued before the first result is asked for, so that the device never waits for the host.
double median_ms(Backend& backend, int repeats, int calls, const std::function<void()>& work);

// ---- operands ----

/// A tensor that owns its memory.
struct Operand {
  Buffer buffer;
  TensorView view;
};

Operand make_operand(Backend& backend, DType dtype, std::initializer_list<int64_t> shape);
/// [rows, columns] of N(0, std): zeros would take less power, and so less time, than real values.
Operand make_random(Backend& backend, DType dtype, int64_t rows, int64_t columns, uint64_t key, double std);

// ---- formulas ----

/// A projection y [rows, out] = x [rows, in] Wᵀ that a step computes `count` times forward and backward (a fraction
/// when the last call has fewer rows).
struct Projection {
  std::string name;
  int64_t rows = 0, in = 0, out = 0;
  double count = 0;
  double flops() const { return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out); }
};
/// The projections of one rank with `tokens` tokens a micro-batch.
std::vector<Projection> projections(const Dimensions& dims);

/// The least time of chunkwise retention on an H200 in bf16: each kernel at the slower of 550 TFLOP/s and 4.3 TB/s,
/// with states stored in bf16 and scores above the diagonal skipped in blocks of 128.
struct RetentionFloor {
  double forward_ns = 0, backward_ns = 0;  ///< of one token and head
};
RetentionFloor retention_floor(int64_t key_dim, int64_t value_dim, int64_t chunk);
/// The floor's formula, in one line.
extern const char* const kRetentionFloorFormula;

enum class Collective { kAllReduce, kAllGather, kReduceScatter };
/// Bytes that each rank must send, as a multiple of the size of the whole buffer: 2 (n-1)/n for an all-reduce, (n-1)/n
/// for the others. Time this, and it compares with the speed of a link.
double bus_factor(Collective collective, int ranks);

// ---- results ----

/// Facts and a table, as text or as one JSON document with schema 1. Names carry their units.
class Report {
 public:
  using Value = nlohmann::ordered_json;
  struct Column {
    std::string name;
    int decimals = 0;  ///< of real numbers
  };

  Report(std::string name, std::vector<Column> columns) : name_(std::move(name)), columns_(std::move(columns)) {}
  void fact(const std::string& name, Value value) { facts_[name] = std::move(value); }
  /// One cell a column; null where there is nothing to say.
  void row(std::vector<Value> cells);
  void print(bool json) const;

  std::string text() const;
  std::string json() const;

 private:
  std::string name_;
  std::vector<Column> columns_;
  Value facts_ = Value::object();
  std::vector<std::vector<Value>> rows_;
};

/// The device and, where there is one, its peak.
void describe(Report& report, const Backend& backend, const Target& target);
/// x, or null when it has no meaning (a peak of 0).
Report::Value ratio(double x, double of);

}  // namespace retain::bench
