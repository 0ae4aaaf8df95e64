#include "trainer/checkpoint/trainer_state.h"

namespace retain {

namespace {

// Three views of share.size() elements in one block of host memory.
FlatState views_of(std::byte* memory, DType dtype, const ReplicaShare& share) {
  const int64_t bytes = share.size() * dtype_bytes(dtype);
  const auto view = [&](int i) { return TensorView(memory + i * bytes, dtype, {share.size()}); };
  return {.share = share, .master = view(0), .m = view(1), .v = view(2)};
}

// The states of a share on the device, contiguous tensors in the order in which views_of() lays them out; or the master
// weights alone.
std::vector<TensorView> tensors_of(const ParameterStore& parameters, const ReplicaShare& share,
                                   LoadedPart part = LoadedPart::kAll) {
  std::vector<SharePiece> kept;
  for (const SharePiece& piece : share.pieces()) {
    const std::vector<SharePiece> here = parameters.updated().within(piece.flat);
    kept.insert(kept.end(), here.begin(), here.end());
  }
  std::vector<TensorView> tensors;
  for (const SharePiece& piece : kept) tensors.push_back(parameters.master(piece));
  if (part == LoadedPart::kWeights) return tensors;
  for (const SharePiece& piece : kept) tensors.push_back(parameters.moment1(piece));
  for (const SharePiece& piece : kept) tensors.push_back(parameters.moment2(piece));
  return tensors;
}

}  // namespace

std::vector<TensorPlacement> placements_of(const ParameterLayout& layout, int tp_rank) {
  std::vector<TensorPlacement> placements;
  for (const ParameterSpec& spec : layout.parameters) {
    TensorPlacement placement;
    placement.name = spec.name;
    placement.global_shape = {spec.global_rows};
    if (spec.rank == 2) placement.global_shape.push_back(spec.global_columns);
    placement.box = {.first_row = spec.first_row,
                     .first_column = spec.first_column,
                     .rows = spec.real_rows,
                     .columns = spec.columns};
    placement.flat_offset = spec.flat_offset;
    placement.stored = spec.rank == 2 || tp_rank == 0;
    placements.push_back(std::move(placement));
  }
  return placements;
}

int64_t HostState::memory_bytes(const ReplicaShare& share, DType accumulate) {
  return kStates * share.size() * dtype_bytes(accumulate);
}

HostState::HostState(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share)
    : parameters_(parameters),
      memory_(backend.make_host_buffer(memory_bytes(share, parameters.accumulate_dtype()))),
      flat_(views_of(memory_->data(), parameters.accumulate_dtype(), share)) {}

void HostState::begin_copy() { memory_->begin_copy(tensors_of(parameters_, flat_.share)); }

StateLoad::StateLoad(ParameterStore& parameters, int tp_rank, const HostState& staging, LoadedPart part)
    : parameters_(parameters), tp_rank_(tp_rank), part_(part), loaded_(staging.flat()) {
  if (part_ == LoadedPart::kWeights) loaded_.m = loaded_.v = {};
}

LoadTarget StateLoad::target(std::function<void(const RunState&)> accept) const {
  return {placements_of(parameters_.layout(), tp_rank_), loaded_, std::move(accept)};
}

void StateLoad::finish(Backend& backend, const GradientReducer& reducer) {
  const auto* from = static_cast<const std::byte*>(loaded_.master.data);  // the moments lie behind it
  for (const TensorView& tensor : tensors_of(parameters_, loaded_.share, part_)) {
    backend.upload(tensor, from);
    from += tensor.bytes();
  }
  // A replica that updates everything has the rest from the others.
  if (parameters_.updated() != loaded_.share) {
    for (const TensorView& whole : tensors_of(parameters_, parameters_.updated(), part_)) reducer.gather_shares(whole);
  }
  parameters_.weights_from_master();
  parameters_.gather_weights(reducer);
  backend.synchronize();
}

}  // namespace retain
