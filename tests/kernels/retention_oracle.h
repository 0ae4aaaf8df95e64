// Retention in float64 by its definition, pair of tokens by pair of tokens, with the dense gradient. Slow and short: no
// chunks, no recurrence, nothing shared with the code under test.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/support/tensors.h"

namespace retain::test {

/// log2 of γ_h = 1 − 2^(−5−h).
inline Values log2_gammas(int64_t heads) {
  Values out;
  for (int64_t h = 0; h < heads; ++h) out.push_back(std::log1p(-std::exp2(-5.0 - h)) / std::log(2.0));
  return out;
}

/// Operands [B,T,H,K] or [B,T,H,V] and states [B,H,K,V], row-major; no document starts and no state when empty.
struct RetentionProblem {
  int64_t batch = 1, tokens = 1, heads = 1, key_dim = 1, value_dim = 1;
  int64_t position_offset = 0;
  Values log2_gamma, q, k, v, document_start, state_in, dout, dstate_out;

  int64_t key(int64_t b, int64_t t, int64_t h) const { return ((b * tokens + t) * heads + h) * key_dim; }
  int64_t value(int64_t b, int64_t t, int64_t h) const { return ((b * tokens + t) * heads + h) * value_dim; }
  int64_t state(int64_t b, int64_t h) const { return (b * heads + h) * key_dim * value_dim; }
  int64_t states() const { return batch * heads * key_dim * value_dim; }
  /// Row t sees the keys [first_key(b, t), t].
  int64_t first_key(int64_t b, int64_t t) const {
    if (document_start.empty()) return 0;
    return std::max<int64_t>(0, static_cast<int64_t>(document_start[b * tokens + t]) - position_offset);
  }
  bool sees_state(int64_t b, int64_t t) const {
    return document_start.empty() || document_start[b * tokens + t] < position_offset;
  }
};

struct RetentionResult {
  Values o, state_out;
};

struct RetentionGradient {
  Values dq, dk, dv, dstate_in;
};

/// o and the state after the last token.
RetentionResult retention_oracle(const RetentionProblem& p);
Values retention_state_oracle(const RetentionProblem& p);

/// The gradient of Σ o·dout + Σ state_out·dstate_out.
RetentionGradient retention_gradient_oracle(const RetentionProblem& p);
Values retention_dstate_oracle(const RetentionProblem& p);

inline Values repeated(const Values& x, int64_t times) {
  Values out;
  for (int64_t i = 0; i < times; ++i) out.insert(out.end(), x.begin(), x.end());
  return out;
}
/// The problem's sequences, several times over; and its results. Large batches cost the oracle nothing.
inline RetentionProblem repeated(RetentionProblem p, int64_t times) {
  p.batch *= times;
  for (Values* x : {&p.q, &p.k, &p.v, &p.document_start, &p.state_in, &p.dout, &p.dstate_out}) *x = repeated(*x, times);
  return p;
}
inline RetentionResult repeated(const RetentionResult& x, int64_t times) {
  return {repeated(x.o, times), repeated(x.state_out, times)};
}
inline RetentionGradient repeated(const RetentionGradient& x, int64_t times) {
  return {repeated(x.dq, times), repeated(x.dk, times), repeated(x.dv, times), repeated(x.dstate_in, times)};
}

/// Document starts of tokens that stand at `offset` of their sequence, from the positions where documents begin.
inline Values document_starts(int64_t batch, int64_t tokens, int64_t offset, const std::vector<int64_t>& begins) {
  Values out;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      int64_t start = 0;
      for (const int64_t begin : begins) {
        const int64_t moved = begin == 0 ? 0 : begin + b;  // other borders in other sequences
        if (moved <= offset + t) start = std::max(start, moved);
      }
      out.push_back(static_cast<double>(start));
    }
  }
  return out;
}

}  // namespace retain::test
