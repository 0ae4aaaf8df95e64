// Segments joined over the cp axis give what one rank computes over the whole sequence.
#include "parallel/context_parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/random.h"
#include "parallel/tensor_parallel.h"
#include "tests/support/late_communicator.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

constexpr int64_t kSequences = 2, kHeads = 3, kKey = 4, kValue = 6, kSegment = 19, kChunk = 8;

/// A tensor of float64 on the host, of which parts are cut.
struct Values {
  /// Not a number, so that an element never written shows.
  explicit Values(std::initializer_list<int64_t> shape) : view(nullptr, DType::kFloat64, shape) {
    numbers.assign(static_cast<std::size_t>(view.elements()), std::nan(""));
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

/// The largest difference of two views of four dims; not a number where one of them is none.
double worst(const TensorView& a, const TensorView& b) {
  double worst = 0;
  for (int64_t i = 0; i < a.elements(); ++i) {
    int64_t rest = i, in_a = 0, in_b = 0;
    for (int d = 3; d >= 0; --d) {
      in_a += rest % a.shape[d] * a.stride[d];
      in_b += rest % a.shape[d] * b.stride[d];
      rest /= a.shape[d];
    }
    const double difference = std::abs(a.as<double>()[in_a] - b.as<double>()[in_b]);
    worst = difference <= worst ? worst : difference;
  }
  return worst;
}

/// Sequence 0 is one document; sequence 1 starts a second one inside segment `cut` (none when negative).
std::vector<int32_t> document_starts(int segments, int cut) {
  std::vector<int32_t> start(static_cast<std::size_t>(kSequences * segments * kSegment), -1);
  const int64_t at = cut * kSegment + 5;
  for (int64_t t = at; cut >= 0 && t < segments * kSegment; ++t) {
    start[static_cast<std::size_t>(segments * kSegment + t)] = static_cast<int32_t>(at);
  }
  return start;
}

/// q, k, v, dout and what comes from before and behind, of sequences as long as the axis has segments; and what
/// retention makes of them.
struct Whole {
  int64_t tokens;
  Values q{{kSequences, tokens, kHeads, kKey}, 1}, k{{kSequences, tokens, kHeads, kKey}, 2};
  Values v{{kSequences, tokens, kHeads, kValue}, 3}, dout{{kSequences, tokens, kHeads, kValue}, 4};
  Values state_in{{kSequences, kHeads, kKey, kValue}, 5}, dstate_out{{kSequences, kHeads, kKey, kValue}, 6};
  Values o{{kSequences, tokens, kHeads, kValue}}, state_out{{kSequences, kHeads, kKey, kValue}};
  Values dq{{kSequences, tokens, kHeads, kKey}}, dk{{kSequences, tokens, kHeads, kKey}};
  Values dv{{kSequences, tokens, kHeads, kValue}}, dstate_in{{kSequences, kHeads, kKey, kValue}};
};

class Segments {
 public:
  /// `continued`: something comes in from before the first segment and from behind the last.
  Segments(Communicator& axis, int cut, bool continued)
      : axis_(axis),
        cp_(axis),
        first_(axis.rank() * kSegment),
        continued_(continued),
        x_{.tokens = axis.size() * kSegment},
        starts_(document_starts(axis.size(), cut)),
        carry_(static_cast<std::size_t>(axis.size() * kSequences), 1) {
    for (int h = 0; h < kHeads; ++h) gamma_.numbers[static_cast<std::size_t>(h)] = std::log2(1 - std::exp2(-3 - h));
    if (cut >= 0) carry_[static_cast<std::size_t>(cut * kSequences + 1)] = 0;
    compute_whole();
  }

  void expect_equal_to_the_whole() {
    const RetentionContext context = context_of(first_, kSegment);
    const TensorView q = part(x_.q), k = part(x_.k), v = part(x_.v), dout = part(x_.dout);
    const int64_t chunks = (kSegment + kChunk - 1) / kChunk;
    const Values states({kSequences, chunks, kHeads, kKey, kValue}),
        dstates({kSequences, chunks, kHeads, kKey, kValue});
    const Values state({kSequences, kHeads, kKey, kValue}), dstate({kSequences, kHeads, kKey, kValue});
    const Values o({kSequences, kSegment, kHeads, kValue}), dv({kSequences, kSegment, kHeads, kValue});
    const Values dq({kSequences, kSegment, kHeads, kKey}), dk({kSequences, kSegment, kHeads, kKey});
    const bool cut = axis_.size() > 1;
    const Values end({kSequences, kHeads, kKey, kValue}), dbegin({kSequences, kHeads, kKey, kValue});

    const TensorView state_in = cp_.begin_states(*backend_, {.context = context, .k = k, .v = v, .states = states.view},
                                                 join(state, continued_ ? x_.state_in.view : TensorView{}, end.view))
                                    .finish();
    EXPECT_EQ(bool{state_in}, cut || continued_);
    if (cut) expect_the_same_states_again(context, k, v, state, states);
    backend_->retention({.context = context,
                         .q = q,
                         .k = k,
                         .v = v,
                         .state_in = state_in,
                         .o = o.view,
                         .state_out = cut ? TensorView{} : end.view,
                         .states = states.view,
                         .states_given = cut});
    EXPECT_LT(worst(o.view, part(x_.o)), 1e-12) << where();
    EXPECT_LT(worst(end.view, x_.state_out.view), 1e-12) << where();

    const TensorView dstate_out =
        cp_.begin_gradients(*backend_, {.context = context, .q = q, .dout = dout, .dstates = dstates.view},
                            join(dstate, continued_ ? x_.dstate_out.view : TensorView{}, dbegin.view))
            .finish();
    backend_->retention_backward({.context = context,
                                  .q = q,
                                  .k = k,
                                  .v = v,
                                  .state_in = state_in,
                                  .states = states.view,
                                  .dout = dout,
                                  .dstate_out = dstate_out,
                                  .dq = dq.view,
                                  .dk = dk.view,
                                  .dv = dv.view,
                                  .dstate_in = cut ? TensorView{} : dbegin.view,
                                  .dstates = cut ? dstates.view : TensorView{}});
    EXPECT_LT(worst(dq.view, part(x_.dq)), 1e-12) << where();
    EXPECT_LT(worst(dk.view, part(x_.dk)), 1e-12) << where();
    EXPECT_LT(worst(dv.view, part(x_.dv)), 1e-12) << where();
    EXPECT_LT(worst(dbegin.view, x_.dstate_in.view), 1e-12) << where();
  }

 private:
  /// From what has arrived, without the other ranks.
  void expect_the_same_states_again(const RetentionContext& context, const TensorView& k, const TensorView& v,
                                    const Values& state, const Values& states) {
    const Values again({states.view.shape[0], states.view.shape[1], kHeads, kKey, kValue});
    SegmentJoin arrived = join(state, continued_ ? x_.state_in.view : TensorView{}, {});
    arrived.arrived = true;
    arrived.gathered = {};
    const TensorView state_in =
        cp_.begin_states(*backend_, {.context = context, .k = k, .v = v, .states = again.view}, arrived).finish();
    EXPECT_EQ(state_in.data, state.view.data);
    EXPECT_EQ(again.numbers, states.numbers) << where();
  }
  void compute_whole() {
    const RetentionContext context = context_of(0, x_.tokens);
    const TensorView state_in = continued_ ? x_.state_in.view : TensorView{};
    backend_->retention({.context = context,
                         .q = x_.q.view,
                         .k = x_.k.view,
                         .v = x_.v.view,
                         .state_in = state_in,
                         .o = x_.o.view,
                         .state_out = x_.state_out.view});
    backend_->retention_backward({.context = context,
                                  .q = x_.q.view,
                                  .k = x_.k.view,
                                  .v = x_.v.view,
                                  .state_in = state_in,
                                  .dout = x_.dout.view,
                                  .dstate_out = continued_ ? x_.dstate_out.view : TensorView{},
                                  .dq = x_.dq.view,
                                  .dk = x_.dk.view,
                                  .dv = x_.dv.view,
                                  .dstate_in = x_.dstate_in.view});
  }
  RetentionContext context_of(int64_t first, int64_t tokens) {
    const TensorView all(starts_.data(), DType::kInt32, {kSequences, x_.tokens});
    return {.log2_gamma = gamma_.view,
            .document_start = all.slice(1, first, tokens),
            .position_offset = first,
            .chunk = kChunk};
  }
  SegmentJoin join(const Values& state, const TensorView& boundary, const TensorView& result) {
    return {.carry = TensorView(carry_.data(), DType::kFloat32, {axis_.size(), kSequences}),
            .segment_tokens = kSegment,
            .gathered = gathered_.view,
            .state = state.view,
            .boundary = boundary,
            .result = result};
  }
  TensorView part(const Values& x) const { return x.view.slice(1, first_, kSegment); }
  std::string where() const { return concat("segment ", axis_.rank(), " of ", axis_.size(), ", ", axis_.name()); }

  Communicator& axis_;
  ContextParallel cp_;
  std::unique_ptr<Backend> backend_ = make_cpu_backend(1);
  int64_t first_;
  bool continued_;
  Whole x_;
  std::vector<int32_t> starts_;
  std::vector<float> carry_;
  Values gamma_ = Values({kHeads}), gathered_ = Values({axis_.size(), kSequences, kHeads, kKey, kValue});
};

void expect_segments_equal_the_whole(Communicator& axis, int cut) {
  for (const bool continued : {false, true}) Segments(axis, cut, continued).expect_equal_to_the_whole();
}

TEST(ContextParallel, JoinedSegmentsEqualTheWholeSequence) {
  test::on_every_group([](Communicator& axis) { expect_segments_equal_the_whole(axis, -1); });
}

TEST(ContextParallel, ADocumentThatStartsInsideASegmentStopsTheState) {
  test::on_every_group([](Communicator& axis) {
    for (int cut = 0; cut < axis.size(); ++cut) expect_segments_equal_the_whole(axis, cut);
  });
}

TEST(ContextParallel, NothingIsUsedBeforeItHasArrived) {
  test::on_every_group([](Communicator& axis) {
    test::LateCommunicator late(axis.split(0, axis.rank()));
    expect_segments_equal_the_whole(late, 0);
  });
}

TEST(TensorParallel, GathersOverTheAxis) {
  test::on_every_group([](Communicator& axis) {
    const TensorParallel tp(axis);
    EXPECT_EQ(tp.size(), axis.size());
    std::vector<float> all(static_cast<std::size_t>(tp.size()));
    all[static_cast<std::size_t>(tp.rank())] = static_cast<float>(10 * tp.rank());
    const TensorView gathered(all.data(), DType::kFloat32, {tp.size()});
    tp.gather(gathered, gathered.slice(0, tp.rank(), 1));
    for (int r = 0; r < tp.size(); ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], static_cast<float>(10 * r));
  });
}

}  // namespace
}  // namespace retain
