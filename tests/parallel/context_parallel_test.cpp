// Segments joined over the cp axis give what one rank computes over the whole sequence.
#include "parallel/context_parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/random.h"
#include "parallel/tensor_parallel.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

constexpr int64_t kSequences = 2, kHeads = 3, kKey = 4, kValue = 6, kSegment = 16;

/// A tensor of float64 on the host, of which parts are cut.
struct Values {
  explicit Values(std::initializer_list<int64_t> shape) : view(nullptr, DType::kFloat64, shape) {
    numbers.resize(static_cast<std::size_t>(view.elements()));
    view.data = numbers.data();
  }
  Values(std::initializer_list<int64_t> shape, uint64_t key) : Values(shape) {
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = philox_normal(key, i);
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  std::vector<double> numbers;
  TensorView view;
};

double worst(const TensorView& a, const TensorView& b) {
  double worst = 0;
  for (int64_t i = 0; i < a.elements(); ++i) worst = std::max(worst, std::abs(a.as<double>()[i] - b.as<double>()[i]));
  return worst;
}

/// Sequence 0 is one document; sequence 1 starts a second one inside segment `cut` (none when negative).
std::vector<int32_t> document_starts(int segments, int cut) {
  std::vector<int32_t> start(static_cast<std::size_t>(kSequences * segments * kSegment), 0);
  const int64_t at = cut * kSegment + 5;
  for (int64_t t = at; cut >= 0 && t < segments * kSegment; ++t) {
    start[static_cast<std::size_t>(segments * kSegment + t)] = static_cast<int32_t>(at);
  }
  return start;
}

void check_join(Communicator& axis, int cut) {
  const int p = axis.size();
  const int64_t tokens = p * kSegment, first = axis.rank() * kSegment;
  const auto backend = make_cpu_backend(1);
  WorkspaceShape shape;
  shape.batch = kSequences;
  shape.tokens = tokens;
  shape.heads = kHeads;
  shape.key_dim = kKey;
  shape.value_dim = kValue;
  shape.chunk = 8;
  shape.compute = DType::kFloat64;
  backend->reserve_workspace(shape);

  const Values q({kSequences, tokens, kHeads, kKey}, 1), k({kSequences, tokens, kHeads, kKey}, 2);
  const Values v({kSequences, tokens, kHeads, kValue}, 3), dout({kSequences, tokens, kHeads, kValue}, 4);
  Values gamma({kHeads});
  for (int h = 0; h < kHeads; ++h) gamma.numbers[static_cast<std::size_t>(h)] = std::log2(1 - std::exp2(-3 - h));
  std::vector<int32_t> starts = document_starts(p, cut);
  const TensorView all_starts(starts.data(), DType::kInt32, {kSequences, tokens});

  RetentionContext context;
  context.log2_gamma = gamma.view;
  context.chunk = 8;

  // The state before this segment, and the gradient of the state after it, from the tokens of the other segments alone.
  const int64_t after = tokens - first - kSegment;
  Values want_state({kSequences, kHeads, kKey, kValue}), want_gradient({kSequences, kHeads, kKey, kValue});
  if (first > 0) {
    RetentionStateArgs args;
    args.context = context;
    args.context.document_start = all_starts.slice(1, 0, first);
    args.k = k.view.slice(1, 0, first);
    args.v = v.view.slice(1, 0, first);
    args.state = want_state.view;
    backend->retention_state(args);
  }
  if (after > 0) {
    RetentionStateGradientArgs args;
    args.context = context;
    args.context.document_start = all_starts.slice(1, first + kSegment, after);
    args.context.position_offset = first + kSegment;
    args.q = q.view.slice(1, first + kSegment, after);
    args.dout = dout.view.slice(1, first + kSegment, after);
    args.dstate = want_gradient.view;
    backend->retention_state_gradient(args);
  }

  std::vector<float> carry(static_cast<std::size_t>(p * kSequences), 1);
  if (cut >= 0) carry[static_cast<std::size_t>(cut * kSequences + 1)] = 0;
  Values gathered({p, kSequences, kHeads, kKey, kValue}), state({kSequences, kHeads, kKey, kValue});
  SegmentJoin join;
  join.carry = TensorView(carry.data(), DType::kFloat32, {p, kSequences});
  join.segment_tokens = kSegment;
  join.gathered = gathered.view;
  join.state = state.view;

  context.document_start = all_starts.slice(1, first, kSegment);
  context.position_offset = first;
  const ContextParallel cp(axis);
  RetentionStateArgs forward;
  forward.context = context;
  forward.k = k.view.slice(1, first, kSegment);
  forward.v = v.view.slice(1, first, kSegment);
  const TensorView incoming = cp.incoming_state(*backend, forward, join);
  if (p == 1) {
    EXPECT_FALSE(incoming);
    return;
  }
  EXPECT_LT(worst(incoming, want_state.view), 1e-12) << "segment " << axis.rank() << " of " << p << ", cut " << cut;

  RetentionStateGradientArgs backward;
  backward.context = context;
  backward.q = q.view.slice(1, first, kSegment);
  backward.dout = dout.view.slice(1, first, kSegment);
  const TensorView outgoing = cp.outgoing_gradient(*backend, backward, join);
  EXPECT_LT(worst(outgoing, want_gradient.view), 1e-12) << "segment " << axis.rank() << " of " << p << ", cut " << cut;
}

TEST(ContextParallel, JoinedSegmentsEqualTheWholeSequence) {
  test::on_every_group([](Communicator& axis) { check_join(axis, -1); });
}

TEST(ContextParallel, ADocumentThatStartsInsideASegmentStopsTheState) {
  test::on_every_group([](Communicator& axis) {
    for (int cut = 0; cut < axis.size(); ++cut) check_join(axis, cut);
  });
}

TEST(TensorParallel, SumsAndGathersOverTheAxis) {
  test::on_every_group([](Communicator& axis) {
    const TensorParallel tp(axis);
    EXPECT_EQ(tp.size(), axis.size());
    std::vector<float> x(5, static_cast<float>(tp.rank() + 1)), all(static_cast<std::size_t>(tp.size()));
    tp.all_reduce(TensorView(x.data(), DType::kFloat32, {5}));
    EXPECT_EQ(x, std::vector<float>(5, static_cast<float>(tp.size() * (tp.size() + 1) / 2)));

    all[static_cast<std::size_t>(tp.rank())] = static_cast<float>(10 * tp.rank());
    const TensorView gathered(all.data(), DType::kFloat32, {tp.size()});
    tp.gather(gathered, gathered.slice(0, tp.rank(), 1));
    for (int r = 0; r < tp.size(); ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], static_cast<float>(10 * r));
  });
}

}  // namespace
}  // namespace retain
