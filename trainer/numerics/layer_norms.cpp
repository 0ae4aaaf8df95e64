#include "trainer/numerics/layer_norms.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/model/host_values.h"

namespace retain {

namespace {

enum Kind : size_t { kWeight, kGradient, kUpdate, kState, kSequences, kKinds };
constexpr std::array<const char*, kState> kNormNames = {"weight", "gradient", "update"};
constexpr int64_t kPieceElements = int64_t{4} << 20;  // on the host at once

/// "layers.3" of "layers.3.retention.q_proj.weight", "embedding" of "embedding.weight".
std::string layer_of(const std::string& parameter) {
  size_t dot = parameter.find('.');
  if (parameter.starts_with("layers.")) dot = parameter.find('.', dot + 1);
  return parameter.substr(0, dot);
}

}  // namespace

int64_t LayerNorms::memory_bytes(const LogConfig& log, const Dimensions& dims) {
  if (log.norms_every == 0) return 0;
  return RetNet::state_bytes(dims) + align_up(sizeof(double), kAlignmentBytes);
}

LayerNorms::LayerNorms(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share,
                       const MeshCoordinate& at, int64_t memory_bytes)
    : backend_(backend), parameters_(parameters), share_(share), at_(at), memory_(backend, memory_bytes) {
  for (const ParameterSpec& spec : parameters.layout().parameters) {
    const std::string name = layer_of(spec.name);
    const size_t layer = index_of(name);
    if (layer == layers_.size()) layers_.push_back(name);
    // Norms are equal on all ranks of tp: one of these counts them.
    if (spec.flat_offset >= parameters.layout().norms.begin && at.tp > 0) continue;
    parts_.push_back({.flat = {spec.flat_offset, spec.flat_offset + spec.elements()}, .layer = layer});
  }
  std::ranges::sort(parts_, {}, [](const Part& part) { return part.flat.begin; });
  begin();
}

size_t LayerNorms::index_of(const std::string& layer) const {
  return static_cast<size_t>(std::ranges::find(layers_, layer) - layers_.begin());
}

void LayerNorms::begin() { squares_.assign(layers_.size() * kKinds, 0); }

void LayerNorms::watch(RetNet& model, const std::function<void()>& forward) {
  Arena arena(memory_);
  const TensorView memory = model.take_state(arena, 0), sum = arena.take(DType::kFloat64, {1});
  model.set_state_look(memory, [&](size_t layer, const TensorView& state) {
    if (at_.cp > 0) return;  // which has the same of the same sequences
    backend_.reduce({.kind = ReduceKind::kSumOfSquares, .x = state, .out = sum});
    double* const mine = &squares_[index_of(concat("layers.", layer)) * kKinds];
    mine[kState] += download_wide(backend_, sum).front();
    if (at_.tp == 0) mine[kSequences] += static_cast<double>(state.shape[0]);
  });
  forward();
  model.set_state_look({}, {});
}

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
    const double* const of = &squares[layer * kKinds];
    const std::string name = concat("norms/", layers_[layer], "/");
    for (size_t kind = 0; kind < kNormNames.size(); ++kind)
      norms.emplace_back(name + kNormNames.at(kind), std::sqrt(of[kind]));
    if (of[kSequences] > 0) norms.emplace_back(name + "state", std::sqrt(of[kState] / of[kSequences]));
  }
  return norms;
}

}  // namespace retain
