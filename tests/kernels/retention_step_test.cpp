#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

struct Case {
  int64_t rows, slots, heads, key, value;
  GroupNormEps eps_kind = GroupNormEps::kConst;
  bool affine = true;
};

class RetentionStep : public BackendTest {
 protected:
  /// Rows in slots of a permuted order; row 1 of several in none.
  static Values slots_of(const Case& c) {
    Values slots;
    for (int64_t i = 0; i < c.rows; ++i) slots.push_back(static_cast<double>((i * 3 + 1) % c.slots));
    if (c.rows > 2) slots[1] = -1;
    return slots;
  }

  struct Result {
    Values states, y;
  };
  /// By the formula, from the values as the backend got them.
  static Result oracle(const Case& c, const Values& qkvg, const Values& table, const Values& log2_gamma,
                       const Values& weight, const Values& states, const Values& slots, const Values& positions,
                       double eps) {
    const int64_t keys = c.heads * c.key, values = c.heads * c.value, columns = 2 * keys + 2 * values;
    Result r{states, Values(static_cast<size_t>(c.rows * values), 0.0)};
    for (int64_t i = 0; i < c.rows; ++i) {
      if (slots[i] < 0) continue;
      for (int64_t h = 0; h < c.heads; ++h) {
        const double* row = qkvg.data() + i * columns;
        const auto turned = [&](const double* x) {
          Values out(static_cast<size_t>(c.key));
          for (int64_t j = 0; j < c.key / 2; ++j) {
            const double cosine = table[i * c.key + 2 * j], sine = table[i * c.key + 2 * j + 1];
            out[j] = x[j] * cosine - x[j + c.key / 2] * sine;
            out[j + c.key / 2] = x[j + c.key / 2] * cosine + x[j] * sine;
          }
          return out;
        };
        const Values q = turned(row + h * c.key), k = turned(row + keys + h * c.key);
        const double *v = row + 2 * keys + h * c.value, *g = row + 2 * keys + values + h * c.value;
        double* state = r.states.data() + (static_cast<int64_t>(slots[i]) * c.heads + h) * c.key * c.value;
        const double gamma = std::exp2(log2_gamma[h]), scale = 1 / std::sqrt(static_cast<double>(c.key));
        Values o(static_cast<size_t>(c.value), 0.0);
        for (int64_t a = 0; a < c.key; ++a) {
          for (int64_t j = 0; j < c.value; ++j) {
            state[a * c.value + j] = gamma * state[a * c.value + j] + scale * k[a] * v[j];
            o[j] += q[a] * state[a * c.value + j];
          }
        }
        double squares = 0, sum = 0;
        for (const double x : o) squares += x * x;
        for (int64_t m = 0; m <= static_cast<int64_t>(positions[i]); ++m) sum += std::pow(gamma, m);
        const double rstd = 1 / std::sqrt(squares / static_cast<double>(c.value) +
                                          eps * (c.eps_kind == GroupNormEps::kRowsum ? sum : 1));
        for (int64_t j = 0; j < c.value; ++j) {
          const double gate = g[j] / (1 + std::exp(-g[j]));
          r.y[(i * c.heads + h) * c.value + j] = gate * (c.affine ? weight[j] : 1) * o[j] * rstd;
        }
      }
    }
    return r;
  }
};

TEST_P(RetentionStep, ContinuesTheStatesOfItsSlotsAndNoOthers) {
  for (const Case& c : std::vector<Case>{{1, 1, 1, 2, 1},
                                         {3, 5, 2, 6, 5, GroupNormEps::kRowsum},
                                         {4, 7, 3, 60, 100},
                                         {2, 4, 1, 34, 36, GroupNormEps::kConst, false},
                                         {3, 4, 2, 256, 512},
                                         {1, 2, 1, 300, 68, GroupNormEps::kRowsum},
                                         {2, 2, 1, 16, 1100}}) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.heads << " heads of " << c.key << " x " << c.value);
    const int64_t keys = c.heads * c.key, values = c.heads * c.value, columns = 2 * keys + 2 * values;
    const DeviceTensor qkvg = activation({c.rows, columns}, random_values(c.rows * columns, 1));
    const DeviceTensor states =
        accumulator({c.slots, c.heads, c.key, c.value}, random_values(c.slots * c.heads * c.key * c.value, 2));
    Values angles = random_values(c.rows * c.key, 3), log2_gamma, positions;
    for (size_t j = 0; j + 1 < angles.size(); j += 2) {
      const double angle = angles[j];
      angles[j] = std::cos(angle);
      angles[j + 1] = std::sin(angle);
    }
    for (int64_t h = 0; h < c.heads; ++h) log2_gamma.push_back(std::log2(1 - std::exp2(-5.0 - static_cast<double>(h))));
    for (int64_t i = 0; i < c.rows; ++i) positions.push_back(static_cast<double>(i * i * 17));
    const DeviceTensor table = accumulator({c.rows, c.key / 2, 2}, angles);
    const DeviceTensor weight = accumulator({c.value}, random_values(c.value, 4));
    const DeviceTensor slots = integers({c.rows}, slots_of(c)), at = integers({c.rows}, positions);
    const DeviceTensor gammas = doubles({c.heads}, log2_gamma), y = activation({c.rows, c.heads, c.value});
    const Result want = oracle(c, qkvg.values(), table.values(), log2_gamma, weight.values(), states.values(),
                               slots_of(c), positions, 1e-3);
    const auto heads = [&](int64_t column, int64_t width) {
      return qkvg.view().slice(1, column, c.heads * width).split(1, c.heads, width);
    };
    backend().retention_step({.q = heads(0, c.key),
                              .k = heads(keys, c.key),
                              .v = heads(2 * keys, c.value),
                              .g = heads(2 * keys + values, c.value),
                              .table = table,
                              .log2_gamma = gammas,
                              .weight = c.affine ? weight.view() : TensorView{},
                              .states = states,
                              .slots = slots,
                              .positions = at,
                              .y = y,
                              .eps_kind = c.eps_kind,
                              .eps = 1e-3});
    expect_close("states", states.values(), want.states, float64() ? 1e-14 : 3e-7);  // rounded once in any type
    expect_close("y", y.values(), want.y);
  }
}

// Each step needs the state that the one before left.
TEST_P(RetentionStep, StepsFollowOnEachOther) {
  constexpr int64_t kSteps = 40, kKey = 256, kValue = 512;
  const Case c{1, 1, 1, kKey, kValue};
  const int64_t columns = 2 * kKey + 2 * kValue;
  const DeviceTensor qkvg = activation({kSteps, columns}, random_values(kSteps * columns, 1));
  const DeviceTensor states = accumulator({1, 1, kKey, kValue}, Values(kKey * kValue, 0.0));
  Values still;
  for (int64_t j = 0; j < kKey; ++j) still.push_back(j % 2 == 0 ? 1.0 : 0.0);
  const DeviceTensor table = accumulator({1, kKey / 2, 2}, still), gammas = doubles({1}, {std::log2(31.0 / 32)});
  const DeviceTensor slots = integers({1}, {0}), y = activation({kSteps, 1, kValue});
  Result want{states.values(), {}};
  Values all;
  const Values rows = qkvg.values();
  for (int64_t t = 0; t < kSteps; ++t) {
    const Values row(rows.begin() + t * columns, rows.begin() + (t + 1) * columns);
    want = oracle(c, row, still, {std::log2(31.0 / 32)}, Values(kValue, 1.0), want.states, {0}, {0}, 1e-6);
    all.insert(all.end(), want.y.begin(), want.y.end());
    const auto part = [&](int64_t column, int64_t width) {
      return qkvg.view().slice(0, t, 1).slice(1, column, width).split(1, 1, width);
    };
    backend().retention_step({.q = part(0, kKey),
                              .k = part(kKey, kKey),
                              .v = part(2 * kKey, kValue),
                              .g = part(2 * kKey + kValue, kValue),
                              .table = table,
                              .log2_gamma = gammas,
                              .states = states,
                              .slots = slots,
                              .y = y.view().slice(0, t, 1)});
  }
  expect_close("states", states.values(), want.states, float64() ? 1e-13 : 1e-6);
  expect_close("y", y.values(), all);
}

TEST_P(RetentionStep, RefusesWhatItsContractDoesNotSay) {
  const DeviceTensor x = activation({2, 3, 4}), y = activation({2, 3, 4}), table = accumulator({2, 2, 2});
  const DeviceTensor gammas = doubles({3}, {-1, -1, -1}), states = accumulator({5, 3, 4, 4}),
                     slots = integers({2}, {0, 1});
  RetentionStepArgs args{
      .q = x, .k = x, .v = x, .g = x, .table = table, .log2_gamma = gammas, .states = states, .slots = slots, .y = y};
  const auto refused = [&](auto change) {
    RetentionStepArgs wrong = args;
    change(wrong);
    EXPECT_THROW(backend().retention_step(wrong), Error);
  };
  refused([&](RetentionStepArgs& a) { a.y = x; });
  refused([&](RetentionStepArgs& a) { a.eps_kind = GroupNormEps::kRowsum; });  // without positions
  refused([&](RetentionStepArgs& a) { a.states = states.view().slice(2, 0, 3); });
  refused([&](RetentionStepArgs& a) { a.slots = slots.view().slice(0, 0, 1); });
  refused([&](RetentionStepArgs& a) { a.table = table.view().slice(1, 0, 1); });
}

INSTANTIATE_TEST_SUITE_P(Backends, RetentionStep, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
