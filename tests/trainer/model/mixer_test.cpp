// A block works with any mixer: here one that nothing else of the model knows.
#include "trainer/model/mixer.h"

#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "parallel/mesh.h"
#include "tests/support/tiny_run.h"
#include "trainer/model/block.h"

namespace retain::test {
namespace {

// z = s Wᵀ, where s_t is the sum of u up to token t of its sequence; float64 in host memory.
class RunningSum : public Mixer {
 public:
  RunningSum(const Declarations& declare, const ModelConfig& model)
      : matrix_(declare.within("running_sum.")
                    .matrix("proj.weight", TpCut::kColumns, model.hidden_size, model.hidden_size,
                            {.init_std = model.init_std})) {
    declare.mixer_flops(1);
  }
  const char* name() const override { return "running_sum"; }
  void take_activations(const ActivationMemory& memory, const Dimensions& dims) override {
    sum_ = take(memory.products(), dims);
  }
  void take_scratch(Arena& arena, const Dimensions& dims, Residency) override { dsum_ = take(arena, dims); }
  TensorView take_state(Arena& arena, const Dimensions& dims) const override {
    return arena.take(dims.accumulate(), {dims.batch.sequences, dims.model.hidden_size});
  }
  void enter(const Pass& pass, const TensorView& u, int64_t) const override { pass.backend.copy(sum_, u); }
  void mix(const Pass& pass, const TensorView&) const override {
    const int64_t d = sum_.shape[1], tokens = pass.dims.batch.tokens;
    for (int64_t i = 0; i < sum_.elements(); ++i) {
      const double before = i / d % tokens == 0 ? 0 : sum_.as<double>()[i - d];
      sum_.as<double>()[i] += before;
    }
  }
  void leave(const Pass& pass, const TensorView& z, int64_t) const override {
    linear(pass.backend, sum_, matrix_.weight, z);
  }
  void repeat_elementwise(const Pass&) const override {}
  void backward(const Pass& pass, const TensorView& dz, const TensorView&, const TensorView& du) const override {
    const int64_t d = du.shape[1], tokens = pass.dims.batch.tokens;
    linear_input_gradient(pass.backend, dz, matrix_.weight, dsum_);
    for (int64_t i = du.elements(); i-- > 0;) {
      const double after = i / d % tokens == tokens - 1 ? 0 : du.as<double>()[i + d];
      du.as<double>()[i] = after + dsum_.as<double>()[i];
    }
  }
  void leave_gradient(const Pass& pass, const TensorView& dz) const override {
    linear_weight_gradient(pass.backend, dz, sum_, matrix_.gradient, pass.gradients);
  }
  void enter_gradient(const Pass&, const TensorView&) const override {}

 private:
  static TensorView take(Arena& arena, const Dimensions& dims) {
    return arena.take(dims.compute, {dims.rows(), dims.model.hidden_size});
  }
  Parameter matrix_;
  TensorView sum_, dsum_;
};

Block make_block(const Declarations& declare, const ModelConfig& model) {
  const Declarations layer = declare.within("layers.0.");
  return Block(layer, model, std::make_unique<RunningSum>(layer, model));
}

TEST(Block, HasTheGradientsOfAMixerThatIsNotRetention) {
  const Config config = tiny_config("");
  const Dimensions dims =
      make_dimensions(config, {1, 1, 1}, 0, {.device = DeviceKind::kCpu, .compute = DType::kFloat64});
  const int64_t n = dims.rows(), d = dims.model.hidden_size;
  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  TensorParallel tp(mesh->tp());
  const SequenceParallel rows(*backend, tp, n, 1);
  ContextParallel cp(mesh->cp());

  DeclaredModel declared;
  make_block(Declarations(declared), config.model);
  EXPECT_EQ(declared.mixer_flops, 1);
  EXPECT_EQ(declared.parameters[1].name, "layers.0.running_sum_norm.weight");
  const ParameterLayout layout(declared, 0, 1, 1);
  ParameterStore parameters(*backend, layout, dims.compute, ReplicaShare(layout.buckets), Residency::kTraining);
  parameters.initialize(3);
  backend->reserve_workspace(dims.workspace(layout.flat_elements));
  DeclaredModel again;
  Block block = make_block(Declarations(again, parameters, Residency::kTraining), config.model);

  TensorView x, dx;
  const auto take = [&](Arena& arena) {
    x = arena.take(dims.compute, {n, d});
    dx = arena.take(dims.compute, {n, d});
    block.take_memory(arena, arena, dims, Residency::kTraining);
  };
  Arena planned;
  take(planned);
  const Buffer buffer(*backend, planned.used_bytes());
  Arena arena(buffer);
  take(arena);

  const DeviceBatch batch;
  const Pass pass{.backend = *backend,
                  .tp = tp,
                  .rows = rows,
                  .cp = cp,
                  .dims = dims,
                  .batch = batch,
                  .gradients = GradientWrite::kReplace};
  const auto normal = [](const char* name, int64_t i) { return philox_normal(stream_key(5, name), i); };
  for (int64_t i = 0; i < n * d; ++i) x.as<double>()[i] = normal("x", i);
  // A weighted sum of the output, so that dx begins as the weights.
  const auto loss = [&] {
    rows.run(block.before_mixing(pass, {.stream = {}, .branch = x}));
    block.mix(pass);
    rows.run(block.after_mixing(pass));
    const Residual out = block.out();
    double sum = 0;
    for (int64_t i = 0; i < n * d; ++i) {
      sum += normal("loss", i) * (out.stream.as<double>()[i] + out.branch.as<double>()[i]);
    }
    return sum;
  };
  loss();
  for (int64_t i = 0; i < n * d; ++i) dx.as<double>()[i] = normal("loss", i);
  block.backward(pass, dx);

  const auto expect_gradient = [&](const std::string& name, const TensorView& at, const TensorView& gradient) {
    const std::vector<double> begin(at.as<double>(), at.as<double>() + at.elements());
    const auto moved_loss = [&](double step) {
      for (int64_t i = 0; i < at.elements(); ++i) at.as<double>()[i] = begin[i] + step * normal("direction", i);
      return loss();
    };
    double want = 0;
    for (int64_t i = 0; i < at.elements(); ++i) want += gradient.as<double>()[i] * normal("direction", i);
    const double difference = (moved_loss(1e-5) - moved_loss(-1e-5)) / 2e-5;
    moved_loss(0);
    EXPECT_NEAR(difference, want, 1e-6 * std::max(1.0, std::abs(want))) << name;
    EXPECT_GT(std::abs(want), 1e-8) << name << " has no gradient: the comparison would be empty";
  };
  expect_gradient("x", x, dx);
  for (const ParameterSpec& spec : layout.parameters) {
    expect_gradient(spec.name, parameters.weight(spec.name), parameters.gradient(spec.name));
  }
}

}  // namespace
}  // namespace retain::test
