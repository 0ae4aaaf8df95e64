// Retention chunk by chunk: within a chunk the masked product, between chunks the state. Linear in the tokens, and
// almost all of it products. With the decay folded into q and k only the factors differ: 1 within a chunk, γ for the
// state before it, γ^(c-1) for the state after it.
#include "kernels/cpu/retention.h"

namespace retain::cpu {
namespace {

template <class T>
RETAIN_INLINE void mask_one_row(T* scores, const T* decay, int64_t first, int64_t row, int64_t count) {
  for (int64_t s = 0; s < first; ++s) scores[s] = T{0};
#pragma omp simd
  for (int64_t s = first; s <= row; ++s) scores[s] *= decay[s];
  for (int64_t s = row + 1; s < count; ++s) scores[s] = T{0};
}
template <class T>
RETAIN_INLINE void scale_one_row(const T* x, T scale, T* y, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = scale * x[j];
}

/// Zeroes the keys before `first` and after `row`, scales the others by their decay.
RETAIN_CLONES void mask_row(float* scores, const float* decay, int64_t first, int64_t row, int64_t count) {
  mask_one_row(scores, decay, first, row, count);
}
RETAIN_CLONES void mask_row(double* scores, const double* decay, int64_t first, int64_t row, int64_t count) {
  mask_one_row(scores, decay, first, row, count);
}
RETAIN_CLONES void scale_row(const float* x, float scale, float* y, int64_t n) { scale_one_row(x, scale, y, n); }
RETAIN_CLONES void scale_row(const double* x, double scale, double* y, int64_t n) { scale_one_row(x, scale, y, n); }

/// Rows of one head of one sequence, from one token on.
template <class T>
struct Rows {
  T* data;
  int64_t stride, width;

  Rows(const HeadRows<T>& x, int64_t b, int64_t t, int64_t h)
      : data(x.at(b, t, h)), stride(x.token_stride), width(x.width) {}
  Rows(T* contiguous, int64_t columns) : data(contiguous), stride(columns), width(columns) {}
};

/// The decays and masks of one chunk after the other of one head of one sequence, and the products that use them.
template <class T>
class ChunkWalk {
 public:
  static int64_t bytes(int64_t chunk, int64_t width) {
    return 5 * ScratchParts::bytes<T>(chunk) + ScratchParts::bytes<int64_t>(chunk) +
           ScratchParts::bytes<T>(chunk * width);
  }

  /// `width` bounds that of the operands.
  ChunkWalk(ScratchParts& parts, const RetentionContext& context, int64_t tokens, int64_t b, int64_t h, int64_t width)
      : context_(context),
        start_(context.document_start),
        b_(b),
        tokens_(tokens),
        log2_gamma_(Vector<const double>(context.log2_gamma)[h]),
        chunk_(std::min(context.chunk, tokens)),
        within_(parts.take<T>(chunk_)),
        key_decay_(parts.take<T>(chunk_)),
        query_decay_(parts.take<T>(chunk_)),
        from_state_(parts.take<T>(chunk_)),
        to_state_(parts.take<T>(chunk_)),
        first_(parts.take<int64_t>(chunk_)),
        scaled_(parts.take<T>(chunk_ * width)) {
    const bool folded = context.folded_chunk > 0;
    for (int64_t j = 0; j < chunk_; ++j) {
      key_decay_[j] = power(chunk_ - 1 - j);
      within_[j] = folded ? T{1} : key_decay_[j];
      query_decay_[j] = power(folded ? 1 : j + 1);
    }
  }

  int64_t chunks() const { return (tokens_ + chunk_ - 1) / chunk_; }

  void enter(int64_t index) {
    begin_ = index * chunk_;
    count_ = std::min(chunk_, tokens_ - begin_);
    const int64_t position = context_.position_offset + begin_;
    const T folded_key_decay = power(count_ - 1);
    const auto document = [&](int64_t r) { return start_ ? start_.at(b_, begin_ + r) - position : int64_t{-1}; };
    const int64_t last_document = document(count_ - 1);
    for (int64_t r = 0; r < count_; ++r) {
      const T key_decay = context_.folded_chunk > 0 ? folded_key_decay : key_decay_[chunk_ - count_ + r];
      first_[r] = std::max<int64_t>(document(r), 0);
      from_state_[r] = document(r) < 0 ? query_decay_[r] : T{0};
      to_state_[r] = r >= last_document ? key_decay : T{0};
    }
    keep_ = last_document < 0 ? power(count_) : T{0};
  }
  int64_t begin() const { return begin_; }

  /// scores [c, c] = (x yᵀ) ⊙ D.
  void masked_product(const Rows<T>& x, const Rows<T>& y, T* scores) const {
    gemm(false, true, count_, count_, x.width, T{1}, x.data, x.stride, y.data, y.stride, T{0}, scores, count_);
    for (int64_t r = 0; r < count_; ++r) mask_row(scores + r * count_, within_ + chunk_ - 1 - r, first_[r], r, count_);
  }
  /// out = op(scores) x.
  void apply(const T* scores, bool transpose, const Rows<T>& x, const Rows<T>& out) const {
    gemm(transpose, false, count_, x.width, count_, T{1}, scores, count_, x.data, x.stride, T{0}, out.data, out.stride);
  }
  /// out += (x scaled by the decay of the state before the chunk, or to the state after it) op(state).
  void add_from_state(const Rows<T>& x, const T* state, bool transpose, const Rows<T>& out) const {
    add_product(from_state_, x, state, transpose, out);
  }
  void add_to_state(const Rows<T>& x, const T* state, bool transpose, const Rows<T>& out) const {
    add_product(to_state_, x, state, transpose, out);
  }
  /// state [K,V] = γ^c state + (b K)ᵀ V, from the state before the chunk to the one after it. A state that is known to
  /// be zero is not read.
  void advance(const Rows<T>& k, const Rows<T>& v, T* state, bool& zero) const {
    scale(to_state_, k);
    gemm(true, false, k.width, v.width, count_, T{1}, scaled_, k.width, v.data, v.stride, zero ? T{0} : keep_, state,
         v.width);
    zero = false;
  }
  /// gradient [K,V] = γ^c gradient + (a Q)ᵀ dO, from that of the state after the chunk to that of the one before it.
  void retreat(const Rows<T>& q, const Rows<T>& dout, T* gradient, bool& zero) const {
    scale(from_state_, q);
    gemm(true, false, q.width, dout.width, count_, T{1}, scaled_, q.width, dout.data, dout.stride, zero ? T{0} : keep_,
         gradient, dout.width);
    zero = false;
  }

 private:
  T power(int64_t exponent) const { return static_cast<T>(std::exp2(log2_gamma_ * static_cast<double>(exponent))); }

  void scale(const T* factors, const Rows<T>& x) const {
    for (int64_t r = 0; r < count_; ++r) scale_row(x.data + r * x.stride, factors[r], scaled_ + r * x.width, x.width);
  }
  void add_product(const T* factors, const Rows<T>& x, const T* state, bool transpose, const Rows<T>& out) const {
    scale(factors, x);
    gemm(false, transpose, count_, out.width, x.width, T{1}, scaled_, x.width, state, transpose ? x.width : out.width,
         T{1}, out.data, out.stride);
  }

  const RetentionContext& context_;
  DocumentStart start_;
  int64_t b_, tokens_;
  double log2_gamma_;
  int64_t chunk_;
  T* within_;       // decay between query and key of the last row of a full chunk: γ^(C−1−s)
  T* key_decay_;    // γ^(C−1−s)
  T* query_decay_;  // γ^(r+1)
  // Of the chunk entered:
  T* from_state_;   // a_r: decay of the state before the chunk in row r, 0 in another document
  T* to_state_;     // b_s: decay of key s in the state after the chunk, 0 in another document
  int64_t* first_;  // the first key that row r sees
  T* scaled_;       // an operand with its rows scaled
  int64_t begin_ = 0, count_ = 0;
  T keep_ = 0;  // decay of the state over the chunk, 0 over a border
};

int64_t states_in(int64_t tokens, int64_t chunk) { return (tokens + chunk - 1) / chunk; }

template <class T>
T* state_of(const TensorView& states, int64_t item, int64_t size) {
  return states ? states.as<T>() + item * size : nullptr;
}

/// The states [B,N,H,K,V] of the chunks of one head of one sequence, if they are there.
template <class T>
class ChunkStates {
 public:
  ChunkStates(const TensorView& states, int64_t b, int64_t h) {
    if (!states) return;
    size_ = states.shape[3] * states.shape[4];
    step_ = states.shape[2] * size_;
    first_ = states.as<T>() + b * states.shape[1] * step_ + h * size_;
  }
  /// One after the other.
  ChunkStates(T* memory, int64_t size) : first_(memory), step_(size), size_(size) {}

  explicit operator bool() const { return first_ != nullptr; }
  T* at(int64_t chunk) const { return first_ + chunk * step_; }
  void save(int64_t chunk, const T* state, bool zero) const {
    if (!first_) return;
    zero ? std::fill_n(at(chunk), size_, T{0}) : std::copy_n(state, size_, at(chunk));
  }

 private:
  T* first_ = nullptr;
  int64_t step_ = 0, size_ = 0;
};

}  // namespace

template <class T>
void retention_chunkwise(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread) {
  const HeadRows<T> q(a.q), k(a.k), v(a.v), o(a.o);
  const int64_t tokens = q.tokens, chunk = std::min(a.context.chunk, tokens), size = q.width * v.width;
  parallel_items(threads, q.batch * q.heads, [&](int64_t item, int thread) {
    const int64_t b = item / q.heads, h = item % q.heads;
    ScratchParts parts(scratch, bytes_per_thread, thread);
    T *state = parts.take<T>(size), *scores = parts.take<T>(chunk * chunk);
    ChunkWalk<T> walk(parts, a.context, tokens, b, h, std::max(q.width, v.width));
    const ChunkStates<T> states(a.states, b, h);
    bool zero = !a.state_in;
    if (!zero) std::copy_n(state_of<T>(a.state_in, item, size), size, state);
    for (int64_t i = 0; i < walk.chunks(); ++i) {
      walk.enter(i);
      const int64_t t = walk.begin();
      const Rows<T> qc(q, b, t, h), kc(k, b, t, h), vc(v, b, t, h), oc(o, b, t, h);
      walk.masked_product(qc, kc, scores);
      walk.apply(scores, false, vc, oc);
      if (a.states_given) {
        if (i > 0 || a.state_in) walk.add_from_state(qc, states.at(i), false, oc);
        continue;
      }
      states.save(i, state, zero);
      if (!zero) walk.add_from_state(qc, state, false, oc);
      if (i + 1 < walk.chunks() || a.state_out) walk.advance(kc, vc, state, zero);
    }
    if (a.state_out) std::copy_n(state, size, state_of<T>(a.state_out, item, size));
  });
}

template <class T>
void retention_chunkwise_backward(const RetentionBackwardArgs& a, ThreadPool* threads, void* scratch,
                                  int64_t bytes_per_thread) {
  const HeadRows<T> q(a.q), k(a.k), v(a.v), dout(a.dout), dq(a.dq), dk(a.dk), dv(a.dv);
  const int64_t tokens = q.tokens, chunk = std::min(a.context.chunk, tokens), size = q.width * v.width;
  parallel_items(threads, q.batch * q.heads, [&](int64_t item, int thread) {
    const int64_t b = item / q.heads, h = item % q.heads;
    ScratchParts parts(scratch, bytes_per_thread, thread);
    T *gradient = parts.take<T>(size), *scores = parts.take<T>(chunk * chunk), *dscores = parts.take<T>(chunk * chunk);
    ChunkWalk<T> walk(parts, a.context, tokens, b, h, std::max(q.width, v.width));

    // The state before each chunk: saved by the forward, or computed again.
    const int64_t chunks = walk.chunks();
    ChunkStates<T> states(a.states, b, h);
    if (!states) {
      T* again = parts.take<T>(chunks * size);
      bool zero = !a.state_in;
      if (!zero) std::copy_n(state_of<T>(a.state_in, item, size), size, again);
      for (int64_t i = 0; i + 1 < chunks; ++i) {
        walk.enter(i);
        T* next = again + (i + 1) * size;
        if (!zero) std::copy_n(again + i * size, size, next);
        walk.advance(Rows<T>(k, b, walk.begin(), h), Rows<T>(v, b, walk.begin(), h), next, zero);
      }
      states = ChunkStates<T>(again, size);
    }

    const ChunkStates<T> dstates(a.dstates, b, h);
    bool zero = !a.dstate_out;
    if (!zero) std::copy_n(state_of<T>(a.dstate_out, item, size), size, gradient);
    for (int64_t i = chunks - 1; i >= 0; --i) {
      walk.enter(i);
      const int64_t t = walk.begin();
      const Rows<T> qc(q, b, t, h), kc(k, b, t, h), vc(v, b, t, h), doc(dout, b, t, h);
      const Rows<T> dqc(dq, b, t, h), dkc(dk, b, t, h), dvc(dv, b, t, h);
      walk.masked_product(qc, kc, scores);
      walk.masked_product(doc, vc, dscores);
      walk.apply(dscores, false, kc, dqc);
      walk.apply(dscores, true, qc, dkc);
      walk.apply(scores, true, doc, dvc);
      if (i > 0 || a.state_in) walk.add_from_state(doc, states.at(i), true, dqc);
      if (dstates) zero = i + 1 == chunks && !a.dstate_out;
      if (!zero) {
        const T* behind = dstates ? dstates.at(i) : gradient;
        walk.add_to_state(vc, behind, true, dkc);
        walk.add_to_state(kc, behind, false, dvc);
      }
      if (!dstates && (i > 0 || a.dstate_in)) walk.retreat(qc, doc, gradient, zero);
    }
    if (a.dstate_in) std::copy_n(gradient, size, state_of<T>(a.dstate_in, item, size));
  });
}

template <class T>
void retention_chunkwise_state(const RetentionStateArgs& a, ThreadPool* threads, void* scratch,
                               int64_t bytes_per_thread) {
  const HeadRows<T> k(a.k), v(a.v);
  const int64_t size = k.width * v.width;
  parallel_items(threads, k.batch * k.heads, [&](int64_t item, int thread) {
    const int64_t b = item / k.heads, h = item % k.heads;
    ScratchParts parts(scratch, bytes_per_thread, thread);
    T* state = a.state ? state_of<T>(a.state, item, size) : parts.take<T>(size);
    ChunkWalk<T> walk(parts, a.context, k.tokens, b, h, std::max(k.width, v.width));
    const ChunkStates<T> states(a.states, b, h);
    bool zero = !a.state_in;
    if (!zero && a.state_in.data != a.state.data) std::copy_n(state_of<T>(a.state_in, item, size), size, state);
    for (int64_t i = 0; i < walk.chunks(); ++i) {
      walk.enter(i);
      states.save(i, state, zero);
      if (i + 1 == walk.chunks() && !a.state) return;
      walk.advance(Rows<T>(k, b, walk.begin(), h), Rows<T>(v, b, walk.begin(), h), state, zero);
    }
  });
}

template <class T>
void retention_chunkwise_state_gradient(const RetentionStateGradientArgs& a, ThreadPool* threads, void* scratch,
                                        int64_t bytes_per_thread) {
  const HeadRows<T> q(a.q), dout(a.dout);
  const int64_t size = q.width * dout.width;
  parallel_items(threads, q.batch * q.heads, [&](int64_t item, int thread) {
    const int64_t b = item / q.heads, h = item % q.heads;
    ScratchParts parts(scratch, bytes_per_thread, thread);
    ChunkWalk<T> walk(parts, a.context, q.tokens, b, h, std::max(q.width, dout.width));
    const ChunkStates<T> dstates(a.dstates, b, h);
    T* dstate = state_of<T>(a.dstate, item, size);
    bool zero = true;
    for (int64_t i = walk.chunks() - 1; i >= 0; --i) {
      walk.enter(i);
      dstates.save(i, dstate, zero);
      walk.retreat(Rows<T>(q, b, walk.begin(), h), Rows<T>(dout, b, walk.begin(), h), dstate, zero);
    }
  });
}

int64_t retention_scratch_bytes(int64_t tokens, int64_t chunk, int64_t key_dim, int64_t value_dim,
                                int64_t element_bytes) {
  const auto bytes = [&](int64_t count) {
    return element_bytes == 8 ? ScratchParts::bytes<double>(count) : ScratchParts::bytes<float>(count);
  };
  const int64_t c = std::clamp<int64_t>(chunk, 1, tokens), size = key_dim * value_dim,
                width = std::max(key_dim, value_dim);
  const int64_t walk = element_bytes == 8 ? ChunkWalk<double>::bytes(c, width) : ChunkWalk<float>::bytes(c, width);
  const int64_t chunkwise = bytes(size) + 2 * bytes(c * c) + walk + bytes(states_in(tokens, c) * size);
  const int64_t parallel = ScratchParts::bytes<double>(tokens + 1) + ScratchParts::bytes<double>(value_dim);
  const int64_t recurrent = ScratchParts::bytes<double>(size) + ScratchParts::bytes<double>(value_dim);
  return std::max({chunkwise, parallel, recurrent});
}

template void retention_chunkwise<float>(const RetentionArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise<double>(const RetentionArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_backward<float>(const RetentionBackwardArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_backward<double>(const RetentionBackwardArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_state<float>(const RetentionStateArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_state<double>(const RetentionStateArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_state_gradient<float>(const RetentionStateGradientArgs&, ThreadPool*, void*, int64_t);
template void retention_chunkwise_state_gradient<double>(const RetentionStateGradientArgs&, ThreadPool*, void*,
                                                         int64_t);

}  // namespace retain::cpu
