#include "tests/kernels/retention_oracle.h"

namespace retain::test {
namespace {

/// γ_h^n for n in [0, tokens].
Values powers(const RetentionProblem& p, int64_t h) {
  Values out(static_cast<size_t>(p.tokens) + 1);
  for (int64_t n = 0; n <= p.tokens; ++n) out[n] = std::exp2(p.log2_gamma[h] * static_cast<double>(n));
  return out;
}

double dot(const double* x, const double* y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

/// y += a·x
void add(double* y, double a, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

/// What every sum over one sequence and head needs.
struct Head {
  int64_t b, h, state;
  Values decay;
};

template <class Body>
void for_each_head(const RetentionProblem& p, const Body& body) {
  for (int64_t h = 0; h < p.heads; ++h) {
    const Values decay = powers(p, h);
    for (int64_t b = 0; b < p.batch; ++b) body(Head{b, h, p.state(b, h), decay});
  }
}

}  // namespace

Values retention_state_oracle(const RetentionProblem& p) {
  Values out(p.states(), 0.0);
  const int64_t last = p.tokens - 1, width = p.value_dim;
  for_each_head(p, [&](const Head& x) {
    if (!p.state_in.empty() && p.sees_state(x.b, last)) {
      add(&out[x.state], x.decay[p.tokens], &p.state_in[x.state], p.key_dim * width);
    }
    for (int64_t s = p.first_key(x.b, last); s < p.tokens; ++s) {
      const double *k = &p.k[p.key(x.b, s, x.h)], *v = &p.v[p.value(x.b, s, x.h)];
      for (int64_t i = 0; i < p.key_dim; ++i) add(&out[x.state + i * width], x.decay[last - s] * k[i], v, width);
    }
  });
  return out;
}

RetentionResult retention_oracle(const RetentionProblem& p) {
  RetentionResult r{Values(p.v.size(), 0.0), retention_state_oracle(p)};
  const int64_t width = p.value_dim;
  for_each_head(p, [&](const Head& x) {
    for (int64_t t = 0; t < p.tokens; ++t) {
      const double* q = &p.q[p.key(x.b, t, x.h)];
      double* o = &r.o[p.value(x.b, t, x.h)];
      for (int64_t s = p.first_key(x.b, t); s <= t; ++s) {
        const double score = x.decay[t - s] * dot(q, &p.k[p.key(x.b, s, x.h)], p.key_dim);
        add(o, score, &p.v[p.value(x.b, s, x.h)], width);
      }
      if (p.state_in.empty() || !p.sees_state(x.b, t)) continue;
      const double* state = &p.state_in[x.state];
      for (int64_t i = 0; i < p.key_dim; ++i) add(o, x.decay[t + 1] * q[i], state + i * width, width);
    }
  });
  return r;
}

Values retention_dstate_oracle(const RetentionProblem& p) {
  Values out(p.states(), 0.0);
  const int64_t width = p.value_dim;
  for_each_head(p, [&](const Head& x) {
    for (int64_t t = 0; t < p.tokens; ++t) {
      if (!p.sees_state(x.b, t)) continue;
      const double *q = &p.q[p.key(x.b, t, x.h)], *dout = &p.dout[p.value(x.b, t, x.h)];
      for (int64_t i = 0; i < p.key_dim; ++i) add(&out[x.state + i * width], x.decay[t + 1] * q[i], dout, width);
    }
    if (p.dstate_out.empty() || !p.sees_state(x.b, p.tokens - 1)) return;
    add(&out[x.state], x.decay[p.tokens], &p.dstate_out[x.state], p.key_dim * width);
  });
  return out;
}

RetentionGradient retention_gradient_oracle(const RetentionProblem& p) {
  RetentionGradient g{Values(p.q.size(), 0.0), Values(p.k.size(), 0.0), Values(p.v.size(), 0.0),
                      retention_dstate_oracle(p)};
  const int64_t last = p.tokens - 1, width = p.value_dim;
  for_each_head(p, [&](const Head& x) {
    for (int64_t t = 0; t < p.tokens; ++t) {
      const double *q = &p.q[p.key(x.b, t, x.h)], *dout = &p.dout[p.value(x.b, t, x.h)];
      double* dq = &g.dq[p.key(x.b, t, x.h)];
      for (int64_t s = p.first_key(x.b, t); s <= t; ++s) {
        const double *k = &p.k[p.key(x.b, s, x.h)], *v = &p.v[p.value(x.b, s, x.h)];
        const double decay = x.decay[t - s];
        const double dscore = decay * dot(dout, v, width);
        add(dq, dscore, k, p.key_dim);
        add(&g.dk[p.key(x.b, s, x.h)], dscore, q, p.key_dim);
        add(&g.dv[p.value(x.b, s, x.h)], decay * dot(q, k, p.key_dim), dout, width);
      }
      if (p.state_in.empty() || !p.sees_state(x.b, t)) continue;
      for (int64_t i = 0; i < p.key_dim; ++i) {
        dq[i] += x.decay[t + 1] * dot(&p.state_in[x.state + i * width], dout, width);
      }
    }
    if (p.dstate_out.empty()) return;
    for (int64_t s = p.first_key(x.b, last); s < p.tokens; ++s) {
      const double *k = &p.k[p.key(x.b, s, x.h)], *v = &p.v[p.value(x.b, s, x.h)];
      double *dk = &g.dk[p.key(x.b, s, x.h)], *dv = &g.dv[p.value(x.b, s, x.h)];
      for (int64_t i = 0; i < p.key_dim; ++i) {
        const double* dstate = &p.dstate_out[x.state + i * width];
        dk[i] += x.decay[last - s] * dot(dstate, v, width);
        add(dv, x.decay[last - s] * k[i], dstate, width);
      }
    }
  });
  return g;
}

}  // namespace retain::test
