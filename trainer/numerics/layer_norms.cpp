#include "trainer/numerics/layer_norms.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/model/host_values.h"

namespace retain {

namespace {

enum Kind : size_t { kWeight, kGradient, kUpdate, kKinds };
constexpr std::array<const char*, kKinds> kKindNames = {"weight", "gradient", "update"};
constexpr int64_t kPieceElements = int64_t{4} << 20;  // on the host at once

/// "layers.3" of "layers.3.retention.q_proj.weight", "embedding" of "embedding.weight".
std::string layer_of(const std::string& parameter) {
  size_t dot = parameter.find('.');
  if (parameter.starts_with("layers.")) dot = parameter.find('.', dot + 1);
  return parameter.substr(0, dot);
}

}  // namespace

LayerNorms::LayerNorms(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share, int tp_rank)
    : backend_(backend), parameters_(parameters), share_(share) {
  for (const ParameterSpec& spec : parameters.layout().parameters) {
    const std::string name = layer_of(spec.name);
    const auto known = std::ranges::find(layers_, name);
    const auto layer = static_cast<size_t>(known - layers_.begin());
    if (known == layers_.end()) layers_.push_back(name);
    // Norms are equal on all ranks of tp: one of these counts them.
    if (spec.flat_offset >= parameters.layout().norms.begin && tp_rank > 0) continue;
    parts_.push_back({.flat = {spec.flat_offset, spec.flat_offset + spec.elements()}, .layer = layer});
  }
  std::ranges::sort(parts_, {}, [](const Part& part) { return part.flat.begin; });
  begin();
}

void LayerNorms::begin() { squares_.assign(layers_.size() * kKinds, 0); }

void LayerNorms::watch(Range flat, const std::function<void(Range)>& update) {
  for (int64_t begin = flat.begin; begin < flat.end; begin += kPieceElements) {
    const Range range{begin, std::min(begin + kPieceElements, flat.end)};
    const std::vector<SharePiece> pieces = share_.within(range);
    std::vector<std::vector<double>> before;
    for (const SharePiece& piece : pieces) {
      add(kGradient, piece, download_wide(backend_, parameters_.gradient(piece)));
      before.push_back(download_wide(backend_, parameters_.master(piece)));
    }
    update(range);
    for (size_t i = 0; i < pieces.size(); ++i) {
      std::vector<double> after = download_wide(backend_, parameters_.master(pieces[i]));
      add(kWeight, pieces[i], after);
      std::ranges::transform(after, before[i], after.begin(), std::minus<>());
      add(kUpdate, pieces[i], after);
    }
  }
}

void LayerNorms::add(size_t kind, const SharePiece& piece, const std::vector<double>& values) {
  auto part = std::ranges::upper_bound(parts_, piece.flat.begin, {}, [](const Part& p) { return p.flat.end; });
  for (; part != parts_.end() && part->flat.begin < piece.flat.end; ++part) {
    const Range counted = common(part->flat, piece.flat);
    double sum = 0;
    for (int64_t i = counted.begin; i < counted.end; ++i) {
      const double value = values[static_cast<size_t>(i - piece.flat.begin)];
      sum += value * value;
    }
    squares_[part->layer * kKinds + kind] += sum;
  }
}

std::vector<std::pair<std::string, double>> LayerNorms::total(Communicator& host, std::vector<double> squares) const {
  host.all_reduce(TensorView(squares.data(), DType::kFloat64, {std::ssize(squares)}), ReduceOp::kSum).wait();
  std::vector<std::pair<std::string, double>> norms;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    for (size_t kind = 0; kind < kKinds; ++kind) {
      norms.emplace_back(concat("norms/", layers_[layer], "/", kKindNames.at(kind)),
                         std::sqrt(squares[layer * kKinds + kind]));
    }
  }
  return norms;
}

}  // namespace retain
