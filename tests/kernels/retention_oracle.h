// Retention in float64 by its definition, pair of tokens by pair of tokens, with the dense gradient. Slow and short.
#pragma once

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
  double decay(int64_t h, int64_t distance) const { return std::exp2(log2_gamma[h] * static_cast<double>(distance)); }
  bool sees_key(int64_t b, int64_t t, int64_t s) const {
    return s <= t && (document_start.empty() || position_offset + s >= document_start[b * tokens + t]);
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

inline RetentionResult retention_oracle(const RetentionProblem& p) {
  RetentionResult r{Values(p.v.size(), 0.0), Values(p.states(), 0.0)};
  const int64_t last = p.tokens - 1;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      for (int64_t t = 0; t < p.tokens; ++t) {
        const double* q = &p.q[p.key(b, t, h)];
        double* o = &r.o[p.value(b, t, h)];
        for (int64_t s = 0; s <= t; ++s) {
          if (!p.sees_key(b, t, s)) continue;
          double score = 0;
          for (int64_t i = 0; i < p.key_dim; ++i) score += q[i] * p.k[p.key(b, s, h) + i];
          score *= p.decay(h, t - s);
          for (int64_t j = 0; j < p.value_dim; ++j) o[j] += score * p.v[p.value(b, s, h) + j];
        }
        if (p.state_in.empty() || !p.sees_state(b, t)) continue;
        const double decay = p.decay(h, t + 1), *state = &p.state_in[p.state(b, h)];
        for (int64_t i = 0; i < p.key_dim; ++i) {
          for (int64_t j = 0; j < p.value_dim; ++j) o[j] += decay * q[i] * state[i * p.value_dim + j];
        }
      }
      double* out = &r.state_out[p.state(b, h)];
      if (!p.state_in.empty() && p.sees_state(b, last)) {
        const double decay = p.decay(h, p.tokens);
        for (int64_t i = 0; i < p.key_dim * p.value_dim; ++i) out[i] += decay * p.state_in[p.state(b, h) + i];
      }
      for (int64_t s = 0; s < p.tokens; ++s) {
        if (!p.sees_key(b, last, s)) continue;
        const double decay = p.decay(h, last - s), *k = &p.k[p.key(b, s, h)], *v = &p.v[p.value(b, s, h)];
        for (int64_t i = 0; i < p.key_dim; ++i) {
          for (int64_t j = 0; j < p.value_dim; ++j) out[i * p.value_dim + j] += decay * k[i] * v[j];
        }
      }
    }
  }
  return r;
}

/// The gradient of Σ o·dout + Σ state_out·dstate_out.
inline RetentionGradient retention_gradient_oracle(const RetentionProblem& p) {
  RetentionGradient g{Values(p.q.size(), 0.0), Values(p.k.size(), 0.0), Values(p.v.size(), 0.0),
                      Values(p.states(), 0.0)};
  const int64_t last = p.tokens - 1, width = p.value_dim;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      const int64_t state = p.state(b, h);
      for (int64_t t = 0; t < p.tokens; ++t) {
        const double *q = &p.q[p.key(b, t, h)], *dout = &p.dout[p.value(b, t, h)];
        double* dq = &g.dq[p.key(b, t, h)];
        for (int64_t s = 0; s <= t; ++s) {
          if (!p.sees_key(b, t, s)) continue;
          const double *k = &p.k[p.key(b, s, h)], *v = &p.v[p.value(b, s, h)];
          double score = 0, dscore = 0;
          for (int64_t i = 0; i < p.key_dim; ++i) score += q[i] * k[i];
          for (int64_t j = 0; j < width; ++j) dscore += dout[j] * v[j];
          const double decay = p.decay(h, t - s);
          score *= decay;
          dscore *= decay;
          for (int64_t i = 0; i < p.key_dim; ++i) {
            dq[i] += dscore * k[i];
            g.dk[p.key(b, s, h) + i] += dscore * q[i];
          }
          for (int64_t j = 0; j < width; ++j) g.dv[p.value(b, s, h) + j] += score * dout[j];
        }
        if (!p.sees_state(b, t)) continue;
        const double decay = p.decay(h, t + 1);
        for (int64_t i = 0; i < p.key_dim; ++i) {
          for (int64_t j = 0; j < width; ++j) {
            g.dstate_in[state + i * width + j] += decay * q[i] * dout[j];
            if (!p.state_in.empty()) dq[i] += decay * p.state_in[state + i * width + j] * dout[j];
          }
        }
      }
      if (p.dstate_out.empty()) continue;
      const double* dstate = &p.dstate_out[state];
      for (int64_t s = 0; s < p.tokens; ++s) {
        if (!p.sees_key(b, last, s)) continue;
        const double decay = p.decay(h, last - s);
        for (int64_t i = 0; i < p.key_dim; ++i) {
          for (int64_t j = 0; j < width; ++j) {
            g.dk[p.key(b, s, h) + i] += decay * dstate[i * width + j] * p.v[p.value(b, s, h) + j];
            g.dv[p.value(b, s, h) + j] += decay * dstate[i * width + j] * p.k[p.key(b, s, h) + i];
          }
        }
      }
      if (!p.sees_state(b, last)) continue;
      const double decay = p.decay(h, p.tokens);
      for (int64_t i = 0; i < p.key_dim * width; ++i) g.dstate_in[state + i] += decay * dstate[i];
    }
  }
  return g;
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
