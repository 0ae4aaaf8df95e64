// A sequence cut over ranks, every rank worked on in turn on one backend, against the whole sequence.
#include "tests/kernels/retention_fixture.h"

namespace retain::test {
namespace {

class SegmentScan : public RetentionTest {
 protected:
  /// Tokens [begin, begin + tokens) of a problem, as one rank has them: states come from elsewhere.
  static RetentionProblem cut(const RetentionProblem& whole, int64_t begin, int64_t tokens) {
    RetentionProblem part = whole;
    part.tokens = tokens;
    part.position_offset = whole.position_offset + begin;
    const auto rows = [&](Values& out, const Values& in, int64_t width) {
      out.clear();
      for (int64_t b = 0; b < whole.batch && !in.empty(); ++b) {
        const auto first = in.begin() + (b * whole.tokens + begin) * width;
        out.insert(out.end(), first, first + tokens * width);
      }
    };
    rows(part.q, whole.q, whole.heads * whole.key_dim);
    rows(part.k, whole.k, whole.heads * whole.key_dim);
    rows(part.v, whole.v, whole.heads * whole.value_dim);
    rows(part.dout, whole.dout, whole.heads * whole.value_dim);
    rows(part.document_start, whole.document_start, 1);
    return part;
  }
  static void append_rows(Values& whole, const Values& part, int64_t whole_tokens, int64_t begin, int64_t batch) {
    const auto width = static_cast<int64_t>(whole.size()) / (whole_tokens * batch);
    const auto size = static_cast<int64_t>(part.size()) / batch;
    for (int64_t b = 0; b < batch; ++b) {
      std::copy_n(part.begin() + b * size, size, whole.begin() + (b * whole_tokens + begin) * width);
    }
  }

  void expect_segments_equal_the_whole(const RetentionProblem& whole, int64_t ranks, int64_t chunk) {
    const int64_t tokens = whole.tokens / ranks, batch = whole.batch, states = whole.states();
    const RetentionResult want = retention_oracle(whole);
    const RetentionGradient want_gradient = retention_gradient_oracle(whole);
    Values all_u, all_w, carry;
    for (int64_t r = 0; r < ranks; ++r) {
      const RetentionProblem p = cut(whole, r * tokens, tokens);
      const Operands x = filled_operands(p);
      const Context c = context(p, RetentionForm::kChunkwise, chunk);
      const DeviceTensor u = accumulator(state_shape(p)), w = accumulator(state_shape(p));
      backend().retention_state({.context = c.args, .k = x.k, .v = x.v, .state = u});
      backend().retention_state_gradient({.context = c.args, .q = x.q, .dout = x.g, .dstate = w});
      const Values u_values = u.values(), w_values = w.values();
      all_u.insert(all_u.end(), u_values.begin(), u_values.end());
      all_w.insert(all_w.end(), w_values.begin(), w_values.end());
      for (int64_t b = 0; b < batch; ++b) carry.push_back(p.sees_state(b, tokens - 1) ? 1 : 0);
    }
    const DeviceTensor log2_gamma = doubles({whole.heads}, whole.log2_gamma);
    const DeviceTensor carries(backend(), DType::kFloat32, {ranks, batch}, carry);
    const bool comes_in = !whole.state_in.empty();
    const Values before = comes_in ? whole.state_in : Values(states, 0.0);
    const Values behind = comes_in ? whole.dstate_out : Values(states, 0.0);
    Values end;  // what all segments leave together, in the direction of the last scan
    const auto scan = [&](const Values& gathered, int64_t rank, bool reverse) {
      const DeviceTensor in = accumulator({ranks, batch, whole.heads, whole.key_dim, whole.value_dim}, gathered);
      const DeviceTensor out = accumulator(state_shape(whole));
      const DeviceTensor ends = accumulator(state_shape(whole), reverse ? behind : before);
      backend().segment_scan({.gathered = in,
                              .carry = carries,
                              .log2_gamma = log2_gamma,
                              .state = out,
                              .boundary = comes_in ? ends.view() : TensorView{},
                              .result = rank % 2 == 0 ? ends.view() : TensorView{},
                              .segment_tokens = tokens,
                              .rank = rank,
                              .reverse = reverse});
      if (rank % 2 == 0) end = ends.values();
      return out.values();
    };
    EXPECT_EQ(scan(all_u, 0, false), before) << "what comes into the first segment";
    EXPECT_EQ(scan(all_w, ranks - 1, true), behind) << "what comes back into the last segment";

    RetentionResult result{Values(whole.v.size()), {}};
    RetentionGradient gradient{Values(whole.q.size()), Values(whole.k.size()), Values(whole.v.size()), {}};
    RetentionResult result_from_states = result;
    RetentionGradient gradient_from_states = gradient;
    for (int64_t r = 0; r < ranks; ++r) {
      RetentionProblem p = cut(whole, r * tokens, tokens);
      p.state_in = scan(all_u, r, false);
      if (r % 2 == 0) expect_close("end", end, want.state_out);
      p.dstate_out = scan(all_w, r, true);
      if (r % 2 == 0) expect_close("end of gradients", end, want_gradient.dstate_in);
      const RetentionResult y = run(p, RetentionForm::kChunkwise, chunk);
      result.state_out = y.state_out;
      append_rows(result.o, y.o, whole.tokens, r * tokens, batch);
      const RetentionGradient g = run_backward(p, chunk, false);
      append_rows(gradient.dq, g.dq, whole.tokens, r * tokens, batch);
      append_rows(gradient.dk, g.dk, whole.tokens, r * tokens, batch);
      append_rows(gradient.dv, g.dv, whole.tokens, r * tokens, batch);
      if (r == 0) gradient.dstate_in = g.dstate_in;

      const auto from_states = run_from_states(p, chunk);
      append_rows(result_from_states.o, from_states.first.o, whole.tokens, r * tokens, batch);
      append_rows(gradient_from_states.dq, from_states.second.dq, whole.tokens, r * tokens, batch);
      append_rows(gradient_from_states.dk, from_states.second.dk, whole.tokens, r * tokens, batch);
      append_rows(gradient_from_states.dv, from_states.second.dv, whole.tokens, r * tokens, batch);
    }
    expect_same(result, want);
    expect_same(gradient, want_gradient);
    expect_close("o from states", result_from_states.o, want.o);
    expect_close("dq from states", gradient_from_states.dq, want_gradient.dq);
    expect_close("dk from states", gradient_from_states.dk, want_gradient.dk);
    expect_close("dv from states", gradient_from_states.dv, want_gradient.dv);
  }

  int64_t chunk() const { return GetParam().cuda ? 64 : 16; }
};

TEST_P(SegmentScan, SegmentsEqualTheWhole) {
  expect_segments_equal_the_whole(problem({2, 132, 3, 6, 10}, false), 4, chunk());
  expect_segments_equal_the_whole(problem({1, 201, 20, 64, 128}, false), 3, chunk());
  expect_segments_equal_the_whole(problem({2, 132, 3, 6, 10}, true), 4, chunk());
}

TEST_P(SegmentScan, SegmentsEqualTheWholeWithDocuments) {
  // Borders within a segment, at the first token of one, two in one, none in one.
  RetentionProblem p = problem({1, 132, 3, 6, 10}, false, 0, {0, 40, 66, 70, 90});
  expect_segments_equal_the_whole(p, 4, chunk());
  p = problem({2, 132, 3, 60, 10}, false, 0, {0, 10, 99});
  expect_segments_equal_the_whole(p, 4, chunk());
  // One that began before all of them.
  p = problem({2, 132, 3, 6, 10}, true, 50, {0, 60, 120});
  expect_segments_equal_the_whole(p, 4, chunk());
}

// The first ranks' segments, then the others': what leaves the first comes into the second, and back.
TEST_P(SegmentScan, GroupsOfSegmentsJoinByTheirBoundaries) {
  constexpr int64_t kRanks = 5, kFirst = 2, kBatch = 2, kHeads = 3, kState = 24;
  const Values gathered = rounded(accumulate(), random_values(kRanks * kBatch * kHeads * kState, 1));
  Values carry(kRanks * kBatch, 1);
  carry[3] = carry[6] = 0;
  const DeviceTensor log2_gamma = doubles({kHeads}, log2_gammas(kHeads));
  const auto part = [](const Values& all, int64_t begin, int64_t end) {
    const auto width = static_cast<int64_t>(all.size()) / kRanks;
    return Values(all.begin() + begin * width, all.begin() + end * width);
  };
  // The state of a rank of [begin, end), and the result of these.
  const auto scan = [&](int64_t begin, int64_t end, int64_t rank, bool reverse, const Values& boundary) {
    const DeviceTensor in = accumulator({end - begin, kBatch, kHeads, 4, 6}, part(gathered, begin, end));
    const DeviceTensor carries(backend(), DType::kFloat32, {end - begin, kBatch}, part(carry, begin, end));
    const DeviceTensor state = accumulator({kBatch, kHeads, 4, 6});
    const DeviceTensor through = accumulator({kBatch, kHeads, 4, 6}, boundary);
    backend().segment_scan({.gathered = in,
                            .carry = carries,
                            .log2_gamma = log2_gamma,
                            .state = state,
                            .boundary = through,
                            .result = through,
                            .segment_tokens = 16,
                            .rank = rank - begin,
                            .reverse = reverse});
    return std::pair{state.values(), through.values()};
  };
  const Values zero(kBatch * kHeads * kState, 0.0);
  for (const bool reverse : {false, true}) {
    const Values all = scan(0, kRanks, 0, reverse, zero).second;
    const Values between = reverse ? scan(kFirst, kRanks, kFirst, true, zero).second  //
                                   : scan(0, kFirst, 0, false, zero).second;
    expect_close("result",
                 reverse ? scan(0, kFirst, 0, true, between).second : scan(kFirst, kRanks, 3, false, between).second,
                 all);
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      const bool first = rank < kFirst, begins = first != reverse;
      const Values state =
          scan(first ? 0 : kFirst, first ? kFirst : kRanks, rank, reverse, begins ? zero : between).first;
      expect_close("state", state, scan(0, kRanks, rank, reverse, zero).first);
    }
  }
}

TEST_P(SegmentScan, FoldedOperandsGiveTheSameStates) {
  constexpr int64_t kFold = 64;
  const RetentionProblem p = problem({2, 100, 3, 60, 128}, false, 1000, {0, 990, 1030});
  const Operands x = filled_operands(p);
  Context c = context(p, RetentionForm::kChunkwise, kFold);
  const DeviceTensor u = accumulator(state_shape(p)), w = accumulator(state_shape(p));
  backend().retention_state({.context = c.args, .k = x.k, .v = x.v, .state = u});
  backend().retention_state_gradient({.context = c.args, .q = x.q, .dout = x.g, .dstate = w});
  const Values want_u = u.values(), want_w = w.values();
  Values identity;
  for (int64_t i = 0; i < p.tokens * p.key_dim / 2; ++i) identity.insert(identity.end(), {1.0, 0.0});
  const DeviceTensor table = accumulator({p.tokens, p.key_dim / 2, 2}, identity);
  backend().rotate(
      {.x = x.q, .y = x.q, .table = table, .log2_gamma = c.log2_gamma, .fold_chunk = kFold, .fold_sign = 1});
  backend().rotate(
      {.x = x.k, .y = x.k, .table = table, .log2_gamma = c.log2_gamma, .fold_chunk = kFold, .fold_sign = -1});
  c.args.folded_chunk = kFold;
  backend().retention_state({.context = c.args, .k = x.k, .v = x.v, .state = u});
  backend().retention_state_gradient({.context = c.args, .q = x.q, .dout = x.g, .dstate = w});
  expect_close("state", u.values(), want_u);
  expect_close("dstate", w.values(), want_w);
}

INSTANTIATE_TEST_SUITE_P(Backends, SegmentScan, testing::ValuesIn(backend_cases(5e-3)), backend_case_name);

}  // namespace
}  // namespace retain::test
