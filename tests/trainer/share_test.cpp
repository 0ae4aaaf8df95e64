// A replica's share in several ranges: what the optimizer, saves and loads do does not depend on how the flat order is
// cut into buckets. Gradients are made up, no model runs.
#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/inspect.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/optimizer/adamw.h"
#include "trainer/optimizer/gradient_norm.h"

namespace retain::test {
namespace {

constexpr int64_t kStep = 3;

// The layout of a tiny model, in one bucket or in three uneven ones that begin inside tensors.
ParameterLayout layout_of(int replicas, bool cut) {
  ParameterLayout layout(tiny_config("").model, 0, 1, replicas);
  if (cut) {
    const int64_t first = 1001 * replicas, second = 4003 * replicas;
    layout.buckets = {{0, first}, {first, second}, {second, layout.flat_elements}};
  }
  return layout;
}

// What one replica has of a trainer, but for the model.
struct Replica {
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Mesh mesh;
  ParameterLayout layout;
  GradientReducer reducer;
  ParameterStore parameters;
  double norm = 0;

  Replica(Communicator& world, bool cut, int zero, DType compute = DType::kFloat32)
      : mesh({.dp = world.size()}, world.split(0, world.rank())),
        layout(layout_of(world.size(), cut)),
        reducer(mesh, layout.buckets, layout.group_norms, zero),
        parameters(*backend, layout, compute, reducer.updated(), Residency::kTraining) {
    parameters.initialize(1);
  }

  void update(int64_t step) {
    const TensorView gradients = parameters.flat_gradients();
    for (int64_t i = 0; i < gradients.elements(); ++i) {
      const auto key = static_cast<uint64_t>(step * 100 + mesh.world_rank());
      gradients.as<float>()[i] = static_cast<float>(philox_normal(key, static_cast<uint64_t>(i)));
    }
    reducer.reduce(gradients);
    double sum = 0, scale = 0;
    const auto scalar = [](double& value) { return TensorView(&value, DType::kFloat64, {1}); };
    gradient_norm(*backend, mesh, layout, gradients, reducer.share(), 0, scalar(sum), scalar(norm), scalar(scale));
    adamw_update(*backend, parameters, gradients, scalar(scale), {.lr = 0.01}, 0.01, step);
    parameters.gather_weights(reducer);
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

// Every number of replicas, with and without ZeRO, in one bucket and in three.
void in_every_way(const std::function<void(Communicator&, bool cut, int zero)>& body) {
  for (const int replicas : {1, 2, 3}) {
    for (const bool cut : {false, true}) {
      for (const int zero : {0, 1}) {
        SCOPED_TRACE(concat(replicas, " replicas, ", cut ? "three buckets" : "one bucket", ", zero=", zero));
        run_ranks(replicas, [&](Communicator& world) { body(world, cut, zero); });
      }
    }
  }
}

TEST(Share, UpdatesTheSameWeightsInOneBucketAndInThree) {
  in_every_way([](Communicator& world, bool cut, int zero) {
    Replica one(world, false, 0), other(world, cut, zero);
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
  for (const bool from_cut : {false, true}) {
    run_ranks(2, [&](Communicator& world) {
      Replica replica(world, from_cut, 1);
      for (int64_t step = 1; step <= kStep; ++step) replica.update(step);
      replica.save(path("run"));
      if (world.rank() == 0) saved = replica.weights();
    });
    in_every_way([&](Communicator& world, bool cut, int zero) {
      Replica replica(world, cut, zero);
      replica.load(path("run"));
      EXPECT_EQ(replica.weights(), saved);
      replica.save(path("again"));
      EXPECT_EQ(digest_of(path("again")), digest_of(path("run")));
    });
  }
}

TEST(Share, OfNarrowWeightsKeepsWideMastersOfItsRangesAlone) {
  in_every_way([](Communicator& world, bool cut, int zero) {
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

}  // namespace
}  // namespace retain::test
