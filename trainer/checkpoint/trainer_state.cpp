#include "trainer/checkpoint/trainer_state.h"

#include <array>

namespace retain {

namespace {

// Three views of range.size() elements in one block of host memory.
FlatState views_of(std::byte* memory, DType dtype, Range range) {
  const int64_t bytes = range.size() * dtype_bytes(dtype);
  const auto view = [&](int i) { return TensorView(memory + i * bytes, dtype, {range.size()}); };
  return {.range = range, .master = view(0), .m = view(1), .v = view(2)};
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

int64_t HostState::memory_bytes(Range share, DType accumulate) {
  return kStates * share.size() * dtype_bytes(accumulate);
}

HostState::HostState(Backend& backend, const ParameterStore& parameters, Range share)
    : parameters_(parameters),
      memory_(backend.make_host_buffer(memory_bytes(share, parameters.accumulate_dtype()))),
      flat_(views_of(memory_->data(), parameters.accumulate_dtype(), share)) {}

void HostState::begin_copy() {
  const auto share = [&](const TensorView& slice) {
    return slice.slice(0, flat_.range.begin - parameters_.slice().begin, flat_.range.size());
  };
  memory_->begin_copy(
      std::array{share(parameters_.master()), share(parameters_.moment1()), share(parameters_.moment2())});
}

StateLoad::StateLoad(ParameterStore& parameters, int tp_rank, const HostState& staging)
    : parameters_(parameters), tp_rank_(tp_rank), share_(staging.flat()) {}

LoadTarget StateLoad::target(std::function<void(const RunState&)> accept) const {
  return {placements_of(parameters_.layout(), tp_rank_), share_, std::move(accept)};
}

void StateLoad::finish(Backend& backend, Communicator& replicas) {
  const Range slice = parameters_.slice();
  const auto take = [&](const TensorView& whole, const TensorView& host) {
    const TensorView share = whole.slice(0, share_.range.begin - slice.begin, share_.range.size());
    backend.upload(share, host.data);
    if (share.elements() != whole.elements()) replicas.all_gather(whole, share).wait();
  };
  take(parameters_.master(), share_.master);
  take(parameters_.moment1(), share_.m);
  take(parameters_.moment2(), share_.v);
  parameters_.weights_from_master();
  parameters_.gather(replicas);
  backend.synchronize();
}

void load_weights(const Checkpoint& checkpoint, ParameterStore& parameters) {
  for (const ParameterSpec& spec : parameters.layout().parameters) {
    std::vector<double> values(spec.real_rows * spec.columns);
    const Box box{.first_row = spec.first_row,
                  .first_column = spec.first_column,
                  .rows = spec.real_rows,
                  .columns = spec.columns};
    checkpoint.read_box(spec.name, box, 0, values.data(), spec.columns, DType::kFloat64);
    parameters.set_weight(spec, values);
  }
}

}  // namespace retain
