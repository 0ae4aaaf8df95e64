// A replica's share in several ranges: what the optimizer, saves and loads do does not depend on how the flat order is
// laid out and cut into buckets. Gradients are made up, no model runs.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "kernels/core/random.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/inspect.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/optimizer/adamw.h"
#include "trainer/optimizer/gradient_exchange.h"

namespace retain::test {
namespace {

constexpr int64_t kStep = 3;

// How the flat order is laid out and cut. None of it is seen outside of a run.
enum class Cut : uint8_t {
  kOurs,             ///< as runs have it: in the order in which backward completes it, a bucket for a part or two
  kDeclared,         ///< as versions before had it: in the order of declaration, matrices in one bucket
  kInsideOfTensors,  ///< uneven buckets that begin inside tensors
};
constexpr std::array<Cut, 3> kCuts = {Cut::kOurs, Cut::kDeclared, Cut::kInsideOfTensors};

void lay_out_as_declared(ParameterLayout& layout, int replicas) {
  int64_t end = 0;
  bool norms = false, group_norms = false;
  for (ParameterSpec& spec : layout.parameters) {
    if (spec.rank == 1 && !norms) {
      norms = true;
      layout.norms.begin = layout.matrices.end = end = align_up(end, 64 * replicas);
    }
    if (spec.name.ends_with("group_norm.weight") && !group_norms) {
      group_norms = true;
      layout.norms.end = layout.group_norms.begin = end;
    }
    spec.flat_offset = end;
    end = align_up(end + spec.elements(), 64);
  }
  layout.flat_elements = layout.group_norms.end = align_up(end, 64 * replicas);
  layout.buckets = {layout.matrices, {layout.norms.begin, layout.flat_elements}};
}

ParameterLayout layout_of(int replicas, Cut cut) {
  ParameterLayout layout(tiny_config("").model, 0, 1, replicas, kTinyBucket);
  if (cut == Cut::kOurs) return layout;
  if (cut == Cut::kDeclared) lay_out_as_declared(layout, replicas);
  if (cut == Cut::kInsideOfTensors) {
    const int64_t first = 1001 * replicas, second = 4003 * replicas, norms = layout.norms.begin;
    layout.buckets = {{0, first}, {first, second}, {second, norms}, {norms, layout.flat_elements}};
  }
  layout.passing_buckets = layout.buckets.size() - 1;
  return layout;
}

// What one replica has of a trainer, but for the model.
struct Replica {
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Mesh mesh;
  ParameterLayout layout;
  GradientReducer reducer;
  ParameterStore parameters;
  GradientExchange exchange;
  double norm = 0;

  Replica(Communicator& world, Cut cut, int zero, DType compute = DType::kFloat32)
      : mesh({.dp = world.size()}, world.split(0, world.rank())),
        layout(layout_of(world.size(), cut)),
        reducer(mesh, layout.buckets, zero),
        parameters(*backend, layout, compute, reducer.updated(), Residency::kTraining, reducer.kept()),
        exchange(*backend, mesh, reducer, parameters) {
    parameters.initialize(1);
  }

  // What a backward would do with one bucket. Gradients are functions of the name, and so coarse that their sums are
  // exact in any order.
  void write_gradients(size_t bucket, GradientWrite write, const std::string& batch) {
    const Range range = layout.buckets[bucket];
    auto* gradients = parameters.bucket_gradients(bucket).as<float>();
    for (const ParameterSpec& spec : layout.parameters) {
      const Range here = common(range, {spec.flat_offset, spec.flat_offset + spec.real_rows * spec.columns});
      for (int64_t i = here.begin; i < here.end; ++i) {
        const double normal =
            philox_normal(stream_key(1, batch + spec.name), static_cast<uint64_t>(i - spec.flat_offset));
        float& gradient = gradients[i - range.begin];
        gradient = (write == GradientWrite::kAdd ? gradient : 0) + static_cast<float>(std::round(64 * normal) / 64);
      }
    }
  }
  void update(int64_t step) {
    constexpr int kMicroBatches = 3;
    for (int micro = 0; micro < kMicroBatches; ++micro) {
      const GradientWrite write = exchange.begin_backward(micro == 0, micro + 1 == kMicroBatches);
      for (size_t bucket = 0; bucket < layout.buckets.size(); ++bucket) {
        write_gradients(bucket, write, concat(step, ' ', mesh.world_rank(), ' ', micro, ' '));
        exchange.completed(layout.buckets[bucket].end);
      }
    }
    std::array<double, 3> sums{};
    double scale = 0;
    const auto scalar = [](double& value) { return TensorView(&value, DType::kFloat64, {1}); };
    exchange.finish({}, TensorView(sums.data(), DType::kFloat64, {3}), scalar(norm), scalar(scale));
    Config config;
    config.optimizer.lr = 0.01;
    UpdateRates rates = update_rates(config, config.optimizer.lr, step);
    for (size_t bucket = layout.buckets.size(); bucket-- > 0;) {
      adamw_update(*backend, parameters, layout.buckets[bucket], scalar(scale),
                   TensorView(rates.data(), DType::kFloat64, {std::ssize(rates)}), config);
      parameters.begin_gather(reducer, bucket);
    }
    parameters.await_weights(0);
  }
  std::vector<float> weights() const {  // without padding
    std::vector<float> values;
    for (const ParameterSpec& spec : layout.parameters) {
      const auto* begin = parameters.flat_weights().as<float>() + spec.flat_offset;
      values.insert(values.end(), begin, begin + spec.real_rows * spec.columns);
    }
    return values;
  }
  void save(const std::string& run) {
    HostState state(*backend, parameters, reducer.share());
    state.begin_copy();
    state.wait();
    RunState about;
    about.step = kStep;
    about.mesh = mesh.shape();
    CheckpointWriter writer(mesh.host(), run, {.keep = 2});
    const SaveResult result = writer.save(about, placements_of(layout, 0), state.flat());
    ASSERT_TRUE(result.committed) << result.message;
  }
  void load(const std::string& run) {
    const HostState staging(*backend, parameters, reducer.share());
    StateLoad load(parameters, 0, staging);
    const LoadTarget target = load.target([](const RunState&) {});
    open_verified(
        mesh.host(), run, [](const std::string&) {}, &target);
    load.finish(*backend, reducer);
  }
};

// Every number of replicas, cut and level of ZeRO.
void in_every_way(const std::function<void(Communicator&, Cut cut, int zero)>& body) {
  for (const int replicas : {1, 2, 3}) {
    for (const Cut cut : kCuts) {
      for (const int zero : {0, 1, 2}) {
        SCOPED_TRACE(concat(replicas, " replicas, cut ", static_cast<int>(cut), ", zero=", zero));
        run_ranks(replicas, [&](Communicator& world) { body(world, cut, zero); });
      }
    }
  }
}

TEST(Share, UpdatesTheSameWeightsHoweverItIsCut) {
  in_every_way([](Communicator& world, Cut cut, int zero) {
    Replica one(world, Cut::kDeclared, 0), other(world, cut, zero);
    for (int64_t step = 1; step <= kStep; ++step) {
      one.update(step);
      other.update(step);
      EXPECT_NEAR(other.norm, one.norm, 1e-9 * one.norm);
      ASSERT_EQ(other.weights(), one.weights()) << "step " << step;
    }
  });
}

TEST(Share, IsLoadedOnAnyOtherCutToTheLastBit) {
  const TemporaryDirectory directory;
  const auto path = [&](const char* name) { return directory.path() + "/" + name; };
  std::vector<float> saved;
  const auto digest_of = [](const std::string& run) { return compute_digest(open_unverified(run)).value; };
  std::string first_digest;
  for (const Cut from : kCuts) {
    run_ranks(2, [&](Communicator& world) {
      Replica replica(world, from, 1);
      for (int64_t step = 1; step <= kStep; ++step) replica.update(step);
      replica.save(path("run"));
      if (world.rank() == 0) saved = replica.weights();
    });
    if (from == kCuts.front()) first_digest = digest_of(path("run"));
    ASSERT_EQ(digest_of(path("run")), first_digest);
    in_every_way([&](Communicator& world, Cut cut, int zero) {
      Replica replica(world, cut, zero);
      replica.load(path("run"));
      EXPECT_EQ(replica.weights(), saved);
      replica.save(path("again"));
      EXPECT_EQ(digest_of(path("again")), first_digest);
    });
  }
}

TEST(Share, OfNarrowWeightsKeepsWideMastersOfItsRangesAlone) {
  in_every_way([](Communicator& world, Cut cut, int zero) {
    Replica wide(world, cut, 0), narrow(world, cut, zero, DType::kBfloat16);
    for (const SharePiece& piece : narrow.reducer.updated().pieces()) {
      const auto* master = narrow.parameters.master(piece).as<float>();
      const auto* want = piece.of_flat(wide.parameters.flat_weights()).as<float>();
      EXPECT_TRUE(std::equal(master, master + piece.size(), want));
      std::fill_n(narrow.parameters.master(piece).as<float>(), piece.size(), 1.0F + 0x1p-12F);
    }
    narrow.parameters.weights_from_master();
    narrow.parameters.gather_weights(narrow.reducer);
    const auto* weights = narrow.parameters.flat_weights().as<Bfloat16>();
    for (int64_t i = 0; i < narrow.layout.flat_elements; ++i) ASSERT_EQ(weights[i].to_float(), 1.0F) << i;
    for (const ParameterSpec& spec : narrow.layout.parameters) {
      if (spec.rank == 2) continue;
      const TensorView norm = narrow.parameters.norm_weight(spec.name);
      for (int64_t i = 0; i < norm.elements(); ++i) ASSERT_EQ(norm.as<float>()[i], 1.0F + 0x1p-12F) << spec.name;
    }
  });
}

TEST(Share, KeepsTheGradientsOfItsRangesAloneInZeroTwo) {
  run_ranks(2, [](Communicator& world) {
    const Replica all(world, Cut::kOurs, 1), share(world, Cut::kOurs, 2);
    const auto bytes = [](const Replica& replica) {
      return ParameterStore::plan(replica.layout, DType::kFloat32, replica.reducer.updated(), Residency::kTraining,
                                  replica.reducer.kept())
          .gradients_bytes;
    };
    EXPECT_EQ(bytes(all), 4 * all.layout.flat_elements);
    int64_t largest = 0;
    for (size_t i = 0; i < share.layout.passing_buckets; ++i) {
      largest = std::max(largest, share.layout.buckets[i].size());
    }
    const int64_t norms = share.layout.buckets.back().size();
    EXPECT_EQ(bytes(share), 4 * (share.reducer.share().size() + 2 * largest + norms));
    EXPECT_THROW(static_cast<void>(share.parameters.flat_gradients()), Error);
  });
}

}  // namespace
}  // namespace retain::test
