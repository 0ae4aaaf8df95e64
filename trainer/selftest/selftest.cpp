#include "trainer/selftest/selftest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "kernels/core/text.h"
#include "trainer/selftest/feature_pairs.h"

namespace retain {

namespace {

enum Feature : size_t { kMesh, kCompute, kDocuments, kTied, kAccumulation, kZero, kRecompute };

// 16 sequences of 24 tokens a step: chunks of 4 end unevenly where 4, 8 or more ranks share a sequence, and 16 divide
// evenly over some numbers of replicas and not over others.
Config config_of(const SelftestCase& what, const std::string& directory) {
  Config config = tiny_config(directory);
  config.model.heads = 8;
  config.model.tie_embeddings = what.tied;
  config.data.seq_len = 24;
  config.data.reset_state_at_documents = what.documents;
  const int64_t sequences = 16,
                held = sequences / static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(what.mesh.dp)));
  config.train.batch_tokens = sequences * config.data.seq_len;
  config.train.micro_batch_tokens = (what.accumulation ? 1 : held) * config.data.seq_len;
  config.train.tokens = 100 * config.train.batch_tokens;
  config.train.chunk = 4;
  config.train.recompute = what.recompute;
  const int64_t cp = what.mesh.cp;  // segments of about ten tokens
  if (what.recompute == Recompute::kSegment) config.train.segment_tokens = std::max<int64_t>(10 / cp, 1) * cp;
  config.schedule.warmup_steps = 40;
  config.parallel = {.dp = what.mesh.dp, .cp = what.mesh.cp, .tp = what.mesh.tp, .tp_chunks = 2, .zero = what.zero};
  return config;
}

SelftestCase case_of(const FeatureRow& row, const std::vector<MeshShape>& meshes, const std::vector<DType>& computes) {
  const auto value = [&](Feature feature) { return row[feature]; };
  return {.mesh = meshes[static_cast<size_t>(value(kMesh))],
          .compute = computes[static_cast<size_t>(value(kCompute))],
          .documents = value(kDocuments) == 1,
          .tied = value(kTied) == 1,
          .accumulation = value(kAccumulation) == 1,
          .zero = value(kZero),
          .recompute = kRecomputeLevels[static_cast<size_t>(value(kRecompute))]};
}

struct Limits {
  double loss, gradient;
};

Limits limits_of(DType compute) {
  if (compute == DType::kFloat64) return {1e-8, 1e-8};
  if (compute == DType::kFloat32) return {1e-5, 1e-4};
  return {2e-2, 5e-1};
}

// |got - want|² and |want|²
std::pair<double, double> squares(const std::vector<double>& got, const std::vector<double>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return {difference, size};
}

// NaN is as far as can be.
double worse(double worst, double next) {
  return std::isnan(next) ? std::numeric_limits<double>::infinity() : std::max(worst, next);
}

SelftestResult compare(const SelftestCase& what, const TinyResult& got, const TinyResult& want) {
  const Limits limits = limits_of(what.compute);
  SelftestResult result{.what = what, .loss_limit = limits.loss, .gradient_limit = limits.gradient};
  for (size_t i = 0; i < want.losses.size(); ++i) {
    result.loss_difference = worse(result.loss_difference, std::abs(got.losses[i] / want.losses[i] - 1));
  }
  // In bf16 the sign of a first token's q·k is chance, and with it much of what q and k get: the whole says more.
  const bool whole = what.compute == DType::kBfloat16;
  double difference = 0, size = 0;  // squares
  for (size_t p = 0; p < want.first_gradients.size(); ++p) {
    if (!whole) difference = size = 0;
    const auto [d, s] = squares(got.first_gradients[p], want.first_gradients[p]);
    difference += d;
    size += s;
    if (whole && p + 1 < want.first_gradients.size()) continue;
    result.gradient_difference = worse(result.gradient_difference, std::sqrt(difference / size));
  }
  return result;
}

// The ranks that a case needs, one mesh for all cases of a layout.
class Layouts {
 public:
  explicit Layouts(const SelftestRanks& ranks) : ranks_(ranks) {}

  /// Null on a rank that has no part in it. Collective over the world.
  Mesh* mesh(const MeshShape& shape) {
    if (const auto known = std::tuple(shape.dp, shape.cp, shape.tp); shape_ != known) {
      mesh_.reset();
      const bool taking_part = ranks_.world.rank() < shape.ranks();
      std::unique_ptr<Communicator> group = ranks_.world.split(taking_part ? 0 : 1, ranks_.world.rank());
      if (taking_part) {
        const MakeTensorGroup make = ranks_.groups(*group);
        mesh_ = std::make_unique<Mesh>(shape, std::move(group), make);
      }
      shape_ = known;
    }
    return mesh_.get();
  }

 private:
  const SelftestRanks& ranks_;
  std::tuple<int, int, int> shape_;
  std::unique_ptr<Mesh> mesh_;
};

// What one rank gives, by the features that change it; computed where it is asked for.
class References {
 public:
  References(Backend& backend, DeviceKind device, int steps, std::string directory)
      : backend_(backend), device_(device), steps_(steps), directory_(std::move(directory)) {}

  const TinyResult& of(const SelftestCase& what) {
    const auto [at, missing] = results_.try_emplace({what.compute, what.documents, what.tied});
    if (missing) {
      const auto alone = make_single_mesh();
      const Config config =
          config_of({.mesh = {}, .compute = what.compute, .documents = what.documents, .tied = what.tied}, directory_);
      Trainer trainer(backend_, *alone, config, {.device = device_, .compute = what.compute, .threads = 1},
                      kTinyBucket);
      at->second = train_tiny(trainer, steps_);
    }
    return at->second;
  }

 private:
  Backend& backend_;
  DeviceKind device_;
  int steps_;
  std::string directory_;
  std::map<std::tuple<DType, bool, bool>, TinyResult> results_;
};

}  // namespace

std::string SelftestCase::describe() const {
  return concat(mesh.describe(), " ", precision_name(compute), documents ? " documents" : "", tied ? " tied" : "",
                accumulation ? " accumulation" : "", " zero=", zero, " recompute=", recompute_name(recompute));
}

std::vector<SelftestCase> selftest_cases(int ranks, DeviceKind device, SelftestExtent extent) {
  std::vector<MeshShape> meshes;
  for (int all = 1; all <= ranks; ++all) {
    for (const MeshShape& mesh : meshes_of(all)) meshes.push_back(mesh);
  }
  const std::vector<DType> computes = device == DeviceKind::kCuda
                                          ? std::vector<DType>{DType::kFloat32, DType::kBfloat16}
                                          : std::vector<DType>{DType::kFloat64, DType::kFloat32};
  const std::vector<int> values = {
      static_cast<int>(meshes.size()),          static_cast<int>(computes.size()), 2, 2, 2, 3,
      static_cast<int>(kRecomputeLevels.size())};
  std::vector<FeatureRow> rows = all_rows(values, [&](const FeatureRow& row) {
    const SelftestCase what = case_of(row, meshes, computes);
    return validate(config_of(what, ""), what.mesh.ranks()).empty();
  });
  if (extent == SelftestExtent::kPairs) rows = pairs_of(rows);
  std::vector<SelftestCase> cases;
  for (const FeatureRow& row : rows) cases.push_back(case_of(row, meshes, computes));
  return cases;
}

int run_selftest(const SelftestRanks& ranks, const std::vector<SelftestCase>& cases, int steps,
                 const std::string& directory, const std::function<void(const SelftestResult&)>& report) {
  write_tiny_text(directory);
  Layouts layouts(ranks);
  References references(ranks.backend, ranks.device, steps, directory);
  int32_t failed = 0;
  for (const SelftestCase& what : cases) {
    Mesh* const mesh = layouts.mesh(what.mesh);
    if (!mesh) continue;
    const Config config = config_of(what, directory);
    Trainer trainer(ranks.backend, *mesh, config, {.device = ranks.device, .compute = what.compute, .threads = 1},
                    kTinyBucket);
    const TinyResult got = train_tiny(trainer, steps);
    if (ranks.world.rank() != 0) continue;
    const SelftestResult result = compare(what, got, references.of(what));
    failed += result.passed() ? 0 : 1;
    report(result);
  }
  ranks.world.broadcast(TensorView(&failed, DType::kInt32, {1}), 0).wait();
  return failed;
}

}  // namespace retain
