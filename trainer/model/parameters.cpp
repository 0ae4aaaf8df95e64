#include "trainer/model/parameters.h"

#include <algorithm>

#include "kernels/core/random.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/host_values.h"

namespace retain {

ParameterStore::Plan ParameterStore::plan(const ParameterLayout& layout, DType compute, const ReplicaShare& updated,
                                          Residency residency) {
  const int64_t wide = dtype_bytes(accumulate_of(compute));
  const bool own_master = compute != accumulate_of(compute);
  Plan plan;
  plan.weights_bytes = layout.flat_elements * dtype_bytes(compute);
  if (own_master) plan.weights_bytes += (layout.flat_elements - layout.norms.begin) * wide;  // the norms' wide copy
  if (residency == Residency::kInference) return plan;
  plan.gradients_bytes = layout.flat_elements * wide;
  plan.master_bytes = own_master ? updated.size() * wide : 0;
  plan.moments_bytes = 2 * updated.size() * wide;
  return plan;
}

ParameterStore::ParameterStore(Backend& backend, const ParameterLayout& layout, DType compute,
                               const ReplicaShare& updated, Residency residency)
    : backend_(backend), layout_(layout), compute_(compute), accumulate_(accumulate_of(compute)), updated_(updated) {
  const int64_t n = layout_.flat_elements, kept = updated_.size(), wide = dtype_bytes(accumulate_);
  weights_buffer_ = Buffer(backend_, n * dtype_bytes(compute_));
  weights_ = TensorView(weights_buffer_.data(), compute_, {n});
  const int64_t norm_elements = n - layout_.norms.begin;
  if (own_master()) {
    norms_buffer_ = Buffer(backend_, norm_elements * wide);
    norms_ = TensorView(norms_buffer_.data(), accumulate_, {norm_elements});
  } else {
    norms_ = weights_.slice(0, layout_.norms.begin, norm_elements);
  }
  backend_.fill(weights_, 0);
  if (residency == Residency::kInference) return;

  gradients_buffer_ = Buffer(backend_, n * wide);
  gradients_ = TensorView(gradients_buffer_.data(), accumulate_, {n});
  if (own_master()) {
    master_buffer_ = Buffer(backend_, kept * wide);
    master_ = TensorView(master_buffer_.data(), accumulate_, {kept});
    backend_.fill(master_, 0);
  }
  moments_buffer_ = Buffer(backend_, 2 * kept * wide);
  const TensorView moments(moments_buffer_.data(), accumulate_, {2, kept});
  moment1_ = moments.slice(0, 0, 1).reshaped({kept});
  moment2_ = moments.slice(0, 1, 1).reshaped({kept});
  backend_.fill(gradients_, 0);
  backend_.fill(moments, 0);
}

TensorView ParameterStore::view(const TensorView& flat, const std::string& name) const {
  const ParameterSpec& spec = layout_.find(name);
  const TensorView part = flat.slice(0, spec.flat_offset, spec.elements());
  return spec.rank == 1 ? part : part.reshaped({spec.rows, spec.columns});
}

TensorView ParameterStore::fused(const TensorView& flat, const std::string& first, const std::string& last) const {
  const ParameterSpec& a = layout_.find(first);
  const ParameterSpec& b = layout_.find(last);
  const int64_t elements = b.flat_offset + b.elements() - a.flat_offset;
  return flat.slice(0, a.flat_offset, elements).reshaped({elements / a.columns, a.columns});
}

TensorView ParameterStore::norm_weight(const std::string& name) const {
  const ParameterSpec& spec = layout_.find(name);
  return norms_.slice(0, spec.flat_offset - layout_.norms.begin, spec.elements());
}

void ParameterStore::initialize(uint64_t seed) {
  // A tensor is drawn in pieces of whole rows into scratch, then copied into weights and, where it is updated here,
  // into master.
  constexpr int64_t kPieceElements = int64_t{1} << 24;
  int64_t widest = 0;
  for (const ParameterSpec& spec : layout_.parameters) widest = std::max(widest, spec.columns);
  const Buffer scratch(backend_,
                       std::max(widest, std::min(kPieceElements, layout_.flat_elements)) * dtype_bytes(accumulate_));
  const int64_t scratch_elements = scratch.bytes() / dtype_bytes(accumulate_);

  for (const ParameterSpec& spec : layout_.parameters) {
    const int64_t piece_rows = scratch_elements / spec.columns;
    for (int64_t row = 0; row < spec.real_rows; row += piece_rows) {
      const int64_t rows = std::min(piece_rows, spec.real_rows - row);
      const TensorView piece(scratch.data(), accumulate_, {rows, spec.columns});
      if (spec.init_std > 0) {
        backend_.fill_normal({.x = piece,
                              .key = stream_key(seed, spec.name),
                              .std = spec.init_std,
                              .global_columns = spec.global_columns,
                              .first_row = spec.first_row + row,
                              .first_column = spec.first_column});
      } else {
        backend_.fill(piece, 1);
      }
      assign(spec.flat_offset + row * spec.columns, piece.reshaped({rows * spec.columns}));
    }
  }
  if (moments_buffer_.data()) {
    backend_.fill(moment1_, 0);
    backend_.fill(moment2_, 0);
  }
  backend_.synchronize();
}

void ParameterStore::assign(int64_t flat_begin, const TensorView& values) {
  const Range range{flat_begin, flat_begin + values.shape[0]};
  const auto copy = [&](const TensorView& to, const ReplicaShare& held) {
    for (const SharePiece& piece : held.within(range)) {
      backend_.copy(piece.of_share(to), values.slice(0, piece.flat.begin - flat_begin, piece.size()));
    }
  };
  copy(weights_, ReplicaShare(layout_.buckets));
  if (master_buffer_.data()) copy(master_, updated_);
  if (norms_buffer_.data()) copy(norms_, ReplicaShare({wide_norms()}));
}

void ParameterStore::set_weight(const ParameterSpec& spec, const std::vector<double>& values) {
  const int64_t count = spec.real_rows * spec.columns;
  RETAIN_CHECK(static_cast<int64_t>(values.size()) == count, spec.name, ": got ", values.size(), " values, want ",
               count);
  if (count == 0) return;
  const Buffer scratch(backend_, count * dtype_bytes(accumulate_));
  const TensorView wide(scratch.data(), accumulate_, {count});
  upload_rounded(backend_, wide, values);
  assign(spec.flat_offset, wide);
  backend_.synchronize();
}

void ParameterStore::weights_from_master() {
  if (!master_buffer_.data()) return;
  for (const SharePiece& piece : updated_.pieces()) backend_.copy(piece.of_flat(weights_), piece.of_share(master_));
}

void ParameterStore::gather_weights(const GradientReducer& reducer) {
  reducer.gather_updated(weights_);
  if (!norms_buffer_.data()) return;
  backend_.fill(norms_, 0);
  for (const SharePiece& piece : updated_.within(wide_norms())) {
    backend_.copy(norms_.slice(0, piece.flat.begin - layout_.norms.begin, piece.size()), piece.of_share(master_));
  }
  reducer.join_updated(norms_);
}

}  // namespace retain
