#include "trainer/numerics/layer_norms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/model/host_values.h"

namespace retain::test {
namespace {

using Tensors = std::vector<std::vector<double>>;
using Norms = std::map<std::string, double>;

constexpr int kSteps = 2;  // the last of which is watched

/// Weights before and after the last step, its gradient norm, and the norms that it left.
struct Watched {
  Tensors before = {}, after = {};
  double grad_norm = 0;
  Norms norms = {};
  std::vector<ParameterSpec> specs = {};
  Norms states = {};  ///< of one rank: by another way
};

/// What the states have that the next step's sequences leave, by the model itself.
void retained(Trainer& trainer, int64_t step, Norms& norms) {
  const Config& config = trainer.config();
  RetNet& model = trainer.model();
  const Buffer memory(trainer.backend(), config.model.layers * 2 * RetNet::state_bytes(model.dims()));
  Arena arena(memory);
  CarriedStates states(static_cast<size_t>(config.model.layers));
  for (LayerStates& layer : states) layer.out = model.take_state(arena, 0);
  std::vector<double> squares(states.size());
  double sequences = 0;
  for (int64_t micro = 0; micro < trainer.loader().micro_batches(); ++micro) {
    const HostBatch host = trainer.loader().load_from(advance({}, config, step).samples, micro);
    const DeviceBatch batch = upload_batch(trainer.backend(), host, trainer.batch());
    model.forward(batch, RetentionForm::kChunkwise, &states);
    for (size_t i = 0; i < states.size(); ++i)
      for (const double x : download_wide(trainer.backend(), states[i].out)) squares[i] += x * x;
    sequences += static_cast<double>(batch.shape.sequences);
  }
  for (size_t i = 0; i < states.size(); ++i)
    norms[concat("norms/layers.", i, "/state")] = std::sqrt(squares[i] / sequences);
}

Watched watch(Config config, DType compute, std::unique_ptr<Communicator> ranks) {
  const auto backend = make_cpu_backend(1);
  config.log.norms_every = kSteps;
  const MeshShape shape = config.mesh(ranks->size());
  Mesh mesh(shape, std::move(ranks));
  Trainer trainer(*backend, mesh, config, {.device = DeviceKind::kCpu, .compute = compute, .threads = 1}, kTinyBucket);
  Watched result{.specs = trainer.parameters().layout().parameters};
  for (int step = 0; step < kSteps; ++step) {
    result.before = gather_whole(trainer, trainer.parameters().flat_weights());
    if (mesh.shape().ranks() == 1 && step + 1 == kSteps) retained(trainer, step, result.states);
    trainer.prepare(advance({}, config, step), {});
    trainer.queue([] {}, {.norms = step + 1 == kSteps});
    const StepResult done = trainer.finish();
    result.grad_norm = done.grad_norm;
    EXPECT_EQ(done.layer_squares.empty(), step + 1 < kSteps) << "nobody asked";
    if (done.layer_squares.empty()) continue;
    for (const auto& [name, norm] : trainer.layer_norms().total(mesh.host(), done.layer_squares))
      result.norms[name] = norm;
  }
  trainer.parameters().await_weights(0);
  result.after = gather_whole(trainer, trainer.parameters().flat_weights());
  return result;
}

std::string layer_of(const std::string& name) {
  const bool block = name.starts_with("layers.");
  return name.substr(0, name.find('.', block ? name.find('.') + 1 : 0));
}

void expect_near(const Norms& got, const Norms& want, double tolerance, const std::string& where) {
  ASSERT_EQ(got.size(), want.size()) << where;
  for (const auto& [name, norm] : want)
    EXPECT_NEAR(got.contains(name) ? got.at(name) : -1, norm, tolerance * norm) << where << " " << name;
}

TEST(LayerNorms, AreThoseOfTheTensorsThemselves) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Watched watched = watch(tiny_config(directory.path()), DType::kFloat64, make_self_communicator());
  Norms squares;
  for (size_t i = 0; i < watched.specs.size(); ++i) {
    const std::string layer = "norms/" + layer_of(watched.specs[i].name);
    for (size_t j = 0; j < watched.after[i].size(); ++j) {
      const double now = watched.after[i][j], change = now - watched.before[i][j];
      squares[layer + "/weight"] += now * now;
      squares[layer + "/update"] += change * change;
    }
  }
  double gradient_squares = 0;
  for (const auto& [name, norm] : watched.norms) {
    if (name.ends_with("/gradient")) {
      EXPECT_GT(norm, 0) << name;
      gradient_squares += norm * norm;
    } else if (name.ends_with("/state")) {
      EXPECT_NEAR(norm, watched.states.at(name), 1e-12 * norm) << name;
      EXPECT_GT(norm, 0) << name;
    } else {
      ASSERT_TRUE(squares.contains(name)) << name;
      EXPECT_NEAR(norm, std::sqrt(squares[name]), 1e-12 * norm) << name;
    }
  }
  EXPECT_EQ(watched.norms.size(), squares.size() / 2 * 3 + watched.states.size());
  EXPECT_FALSE(watched.states.empty());
  EXPECT_TRUE(watched.norms.contains("norms/layers.1/update"));
  EXPECT_NEAR(std::sqrt(gradient_squares), watched.grad_norm, 1e-12 * watched.grad_norm);
}

TEST(LayerNorms, AStepThatIsWatchedUpdatesTheSameBits) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Config config = tiny_config(directory.path());
  const Watched watched = watch(config, DType::kFloat32, make_self_communicator());
  EXPECT_EQ(train_tiny(config, DType::kFloat32, kSteps, make_self_communicator()).weights, watched.after);
}

TEST(LayerNorms, AreTheSameOnEveryLayout) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const int zero : {0, 1, 2}) {
      Config config = tiny_config(directory.path());
      config.parallel.zero = zero;
      const Norms one = watch(config, DType::kFloat64, make_self_communicator()).norms;
      for (const MeshShape& mesh : meshes_of(group.size())) {
        config.parallel.cp = mesh.cp;
        config.parallel.tp = mesh.tp;
        const Norms many = watch(config, DType::kFloat64, group.split(0, group.rank())).norms;
        expect_near(many, one, 1e-9, concat(mesh.describe(), " zero ", zero));
      }
    }
  });
}

}  // namespace
}  // namespace retain::test
