// Retention by batched products on a GPU, at the chunk that the backend folds, against its definition: several heads
// and sequences, ragged and short segments, documents at and off chunk boundaries.
#include "kernels/cuda/workspace_layout.h"
#include "kernels/retention_plan.h"
#include "tests/kernels/retention_fixture.h"

namespace retain::test {
namespace {

class CudaRetention : public RetentionTest {
 protected:
  /// The chunk that GPUs fold.
  static int64_t fold_chunk(int64_t key_dim, int64_t value_dim) {
    return retention_plan({.device = Device::kCuda, .key_dim = key_dim, .value_dim = value_dim}).fold_chunk;
  }

  /// The least odd number of sequences that a lane does not take at once: two parts of unlike size.
  static int64_t two_parts(int64_t tokens, int64_t key_dim, int64_t value_dim) {
    const int64_t chunk = fold_chunk(key_dim, value_dim), chunks = (tokens + chunk - 1) / chunk;
    int64_t batch = 1;
    while (cuda::part_sequences(batch, chunks, cuda::part_chunks(chunk, key_dim, value_dim)) == batch) batch += 2;
    return batch;
  }

  /// Problems that the batched path takes: K and V are multiples of eight. Every size is met with every kind of
  /// documents, and both with and without a state.
  template <class Claim>
  void for_each_batched_problem(const Claim& claim) {
    // Two go in parts, of one head and of two; the last has more chunks than the scan of the states loads at once.
    for_each_problem({{2, 256, 3, 16, 24},
                      {2, 300, 3, 8, 16},
                      {1, 100, 4, 24, 16},
                      {3, 128, 2, 8, 8},
                      {1, 300, 2, 256, 32},
                      {two_parts(260, 8, 8), 260, 1, 8, 8},
                      {two_parts(130, 8, 8), 130, 2, 8, 8},
                      {1, 1600, 1, 8, 8}},
                     claim);
  }

  /// Calls claim(problem, times): heads of the model families, which Hopper's own kernels take in bf16, with the
  /// problem's sequences that many times over. Ragged chunks, a tile of rows without tokens; states in narrow tiles
  /// where there are few and in wide ones, several tiles for each thread block of every kernel, tiles of one block of
  /// tokens.
  template <class Claim>
  void for_each_problem_of_the_configs(const Claim& claim) {
    const auto times = [&](int64_t n) { return [&claim, n](const RetentionProblem& p) { claim(p, n); }; };
    for_each_problem({{1, 300, 2, 256, 512}, {1, 390, 1, 128, 256}}, times(1));
    for_each_problem({{1, 300, 2, 256, 512}}, times(12));
    for_each_problem({{1, 390, 1, 128, 256}}, times(72));
    for_each_problem({{2, 20, 3, 128, 256}}, times(24));
  }

  template <class Claim>
  void for_each_problem(const std::vector<RetentionSizes>& all, const Claim& claim) {
    constexpr int64_t kOffset = 4096;
    const std::vector<std::vector<int64_t>> documents = {
        {}, {0, kOffset - 7, kOffset + 20, kOffset + 128, kOffset + 131, kOffset + 290}, {kOffset}, {0}};
    for (size_t i = 0; i < all.size(); ++i) {
      const RetentionSizes& s = all[i];
      const RetentionProblem whole = problem(s, true, kOffset);
      for (size_t j = 0; j < documents.size(); ++j) {
        RetentionProblem p = whole;
        if (!documents[j].empty()) p.document_start = document_starts(s.batch, s.tokens, kOffset, documents[j]);
        const bool state = (i + j) % 2 == 0;
        if (!state) {
          p.state_in.clear();
          p.dstate_out.clear();
        }
        SCOPED_TRACE(concat("B=", s.batch, " T=", s.tokens, " H=", s.heads, " K=", s.key_dim, " V=", s.value_dim, ", ",
                            documents[j].size(), " documents", state ? ", with state" : ""));
        claim(p);
      }
    }
  }

  struct Folded {
    Operands x;
    Context c;
    DeviceTensor table;
    DeviceTensor state_in, dstate_out;
  };
  Folded folded(const RetentionProblem& p) {
    const int64_t chunk = fold_chunk(p.key_dim, p.value_dim);
    Values identity;  // rotation by no angle
    for (int64_t i = 0; i < p.tokens * p.key_dim / 2; ++i) identity.insert(identity.end(), {1.0, 0.0});
    const bool state = !p.state_in.empty();
    Folded f{filled_operands(p), context(p, RetentionForm::kChunkwise, chunk),
             accumulator({p.tokens, p.key_dim / 2, 2}, identity),
             accumulator(state_shape(p), state ? p.state_in : Values(p.states(), 0.0)),
             accumulator(state_shape(p), state ? p.dstate_out : Values(p.states(), 0.0))};
    f.c.args.folded_chunk = chunk;
    fold(f, f.x.q, 1);
    fold(f, f.x.k, -1);
    return f;
  }
  void fold(const Folded& f, const TensorView& view, int sign) {
    backend().rotate({.x = view,
                      .y = view,
                      .table = f.table,
                      .log2_gamma = f.c.log2_gamma,
                      .fold_chunk = f.c.args.folded_chunk,
                      .fold_sign = sign});
  }

  void expect_forward(const RetentionProblem& one, int64_t times = 1) {
    const RetentionProblem p = repeated(one, times);
    const Folded f = folded(p);
    const Operands y = operands(p);
    const DeviceTensor state_out = accumulator(state_shape(p));
    RetentionArgs args{.context = f.c.args, .q = f.x.q, .k = f.x.k, .v = f.x.v, .o = y.g, .state_out = state_out};
    if (!p.state_in.empty()) args.state_in = f.state_in;
    backend().retention(args);
    expect_same({read(backend(), y.g), state_out.values()}, repeated(retention_oracle(one), times));
  }

  /// With the states that the forward saved, or computing them again.
  void expect_backward(const RetentionProblem& one, bool saved, int64_t times = 1) {
    const RetentionProblem p = repeated(one, times);
    const RetentionGradient want = repeated(retention_gradient_oracle(one), times);
    const Folded f = folded(p);
    const int64_t chunk = f.c.args.chunk;
    const Operands dx = operands(p);
    const DeviceTensor dstate_in = accumulator(state_shape(p));
    const DeviceTensor states = activation({p.batch, (p.tokens + chunk - 1) / chunk, p.heads, p.key_dim, p.value_dim});
    RetentionBackwardArgs args{.context = f.c.args,
                               .q = f.x.q,
                               .k = f.x.k,
                               .v = f.x.v,
                               .dout = f.x.g,
                               .dq = dx.q,
                               .dk = dx.k,
                               .dv = dx.v,
                               .dstate_in = dstate_in};
    if (!p.state_in.empty()) {
      args.state_in = f.state_in;
      args.dstate_out = f.dstate_out;
    }
    if (saved) {
      args.states = states;
      backend().retention({.context = f.c.args,
                           .q = f.x.q,
                           .k = f.x.k,
                           .v = f.x.v,
                           .state_in = args.state_in,
                           .o = dx.g,
                           .states = states});
    }
    backend().retention_backward(args);
    fold(f, dx.q, 1);
    fold(f, dx.k, -1);
    expect_same({read(backend(), dx.q), read(backend(), dx.k), read(backend(), dx.v), dstate_in.values()}, want);
  }

  void expect_segment_states(RetentionProblem one, int64_t times = 1) {
    one.state_in.clear();
    one.dstate_out.clear();
    const RetentionProblem p = repeated(one, times);
    const Folded f = folded(p);
    const DeviceTensor state = accumulator(state_shape(p)), dstate = accumulator(state_shape(p));
    backend().retention_state({.context = f.c.args, .k = f.x.k, .v = f.x.v, .state = state});
    backend().retention_state_gradient({.context = f.c.args, .q = f.x.q, .dout = f.x.g, .dstate = dstate});
    expect_close("state", state.values(), repeated(retention_state_oracle(one), times));
    expect_close("dstate", dstate.values(), repeated(retention_dstate_oracle(one), times));
  }

  void expect_from_states(const RetentionProblem& one, int64_t times = 1) {
    const RetentionProblem p = repeated(one, times);
    const Folded f = folded(p);
    const auto got = run_from_states(p, f.x, f.c.args, [&](const Operands& gradients) {
      fold(f, gradients.q, 1);
      fold(f, gradients.k, -1);
    });
    const auto want = from_states_oracle(one);
    expect_same(got.first, repeated(want.first, times));
    expect_same(got.second, repeated(want.second, times));
    expect_same(run_from_states_again(p, f.x, f.c.args), repeated(retention_oracle(one), times));
  }
};

TEST_P(CudaRetention, ForwardIsTheDefinition) {
  for_each_batched_problem([&](const RetentionProblem& p) { expect_forward(p); });
}

TEST_P(CudaRetention, BackwardIsTheDenseGradient) {
  for_each_batched_problem([&](const RetentionProblem& p) {
    for (const bool saved : {false, true}) {
      SCOPED_TRACE(saved ? "saved states" : "states computed again");
      expect_backward(p, saved);
    }
  });
}

TEST_P(CudaRetention, SegmentStateAndItsGradientStartFromNothing) {
  for_each_batched_problem([&](const RetentionProblem& p) { expect_segment_states(p); });
}

TEST_P(CudaRetention, ForwardOfHeadsOfTheConfigsIsTheDefinition) {
  for_each_problem_of_the_configs([&](const RetentionProblem& p, int64_t times) { expect_forward(p, times); });
}

TEST_P(CudaRetention, BackwardOfHeadsOfTheConfigsIsTheDenseGradient) {
  for_each_problem_of_the_configs([&](const RetentionProblem& p, int64_t times) { expect_backward(p, true, times); });
}

TEST_P(CudaRetention, BackwardOfHeadsOfTheConfigsComputesStatesAgain) {
  for_each_problem_of_the_configs([&](const RetentionProblem& p, int64_t times) { expect_backward(p, false, times); });
}

TEST_P(CudaRetention, SegmentStateOfHeadsOfTheConfigsStartsFromNothing) {
  for_each_problem_of_the_configs([&](const RetentionProblem& p, int64_t times) { expect_segment_states(p, times); });
}

TEST_P(CudaRetention, StatesThatAreThereServeWithWhatComesInAdded) {
  for_each_batched_problem([&](const RetentionProblem& p) { expect_from_states(p); });
}

TEST_P(CudaRetention, StatesThatAreThereServeHeadsOfTheConfigs) {
  for_each_problem_of_the_configs([&](const RetentionProblem& p, int64_t times) { expect_from_states(p, times); });
}

TEST_P(CudaRetention, PlainKernelServesWideHeads) {
  for (const RetentionSizes& s :
       std::vector<RetentionSizes>{{1, 5, 2, 260, 20}, {1, 5, 1, 520, 12}, {1, 5, 1, 12, 520}}) {
    SCOPED_TRACE(concat("K=", s.key_dim, " V=", s.value_dim));
    const RetentionProblem p = problem(s, true);
    expect_same(run(p, RetentionForm::kRecurrent, 0), retention_oracle(p));
    expect_same(run_backward(p, 4, false), retention_gradient_oracle(p));
  }
}

std::vector<BackendCase> cuda_cases() {
  std::vector<BackendCase> cases;
  for (const BackendCase& c : backend_cases(5e-3)) {
    if (c.cuda) cases.push_back(c);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Backends, CudaRetention, testing::ValuesIn(cuda_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
