#include "trainer/model/parameters.h"

#include <algorithm>

#include "kernels/core/random.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/host_values.h"

namespace retain {

namespace {

TensorView part_of(const TensorView& flat, Range range) { return flat.slice(0, range.begin, range.size()); }

// A flat piece that begins with this parameter as [rows, its columns], or as it is for a norm's weight.
TensorView shaped(const TensorView& piece, const ParameterSpec& spec) {
  return spec.rank == 1 ? piece : piece.reshaped({piece.elements() / spec.columns, spec.columns});
}

}  // namespace

ParameterStore::Plan ParameterStore::plan(const ParameterLayout& layout, DType compute, const ReplicaShare& updated,
                                          Residency residency, GradientsKept kept) {
  const int64_t wide = dtype_bytes(accumulate_of(compute));
  const bool own_master = compute != accumulate_of(compute);
  Plan plan;
  plan.weights_bytes = layout.flat_elements * dtype_bytes(compute);
  if (own_master) plan.weights_bytes += (layout.flat_elements - layout.norms.begin) * wide;  // the norms' wide copy
  if (residency == Residency::kInference) return plan;
  plan.gradients_bytes = GradientMemory::bytes(layout, accumulate_of(compute), updated, kept);
  plan.master_bytes = own_master ? updated.size() * wide : 0;
  plan.moments_bytes = 2 * updated.size() * wide;
  return plan;
}

ParameterStore::ParameterStore(Backend& backend, const ParameterLayout& layout, DType compute,
                               const ReplicaShare& updated, Residency residency, GradientsKept kept)
    : backend_(backend), layout_(layout), compute_(compute), accumulate_(accumulate_of(compute)), updated_(updated) {
  RETAIN_CHECK(layout_.buckets.back() == wide_norms(), "the last bucket is not that of the norms");
  const int64_t n = layout_.flat_elements, updated_elements = updated_.size(), wide = dtype_bytes(accumulate_);
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

  gradients_ = GradientMemory(backend_, layout_, accumulate_, updated_, kept);
  if (own_master()) {
    master_buffer_ = Buffer(backend_, updated_elements * wide);
    master_ = TensorView(master_buffer_.data(), accumulate_, {updated_elements});
    backend_.fill(master_, 0);
  }
  moments_buffer_ = Buffer(backend_, 2 * updated_elements * wide);
  const TensorView moments(moments_buffer_.data(), accumulate_, {2, updated_elements});
  moment1_ = moments.slice(0, 0, 1).reshaped({updated_elements});
  moment2_ = moments.slice(0, 1, 1).reshaped({updated_elements});
  backend_.fill(moments, 0);
}

TensorView ParameterStore::weight(const std::string& name) const { return fused_weight(name, name); }

TensorView ParameterStore::gradient(const std::string& name) const { return fused_gradient(name, name); }

TensorView ParameterStore::fused_weight(const std::string& first, const std::string& last) const {
  return shaped(part_of(weights_, span_of(first, last)), layout_.find(first));
}

TensorView ParameterStore::fused_gradient(const std::string& first, const std::string& last) const {
  return shaped(gradients_.part(span_of(first, last)), layout_.find(first));
}

Range ParameterStore::span_of(const std::string& first, const std::string& last) const {
  const ParameterSpec& end = layout_.find(last);
  return {layout_.find(first).flat_offset, end.flat_offset + end.elements()};
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
      if (spec.scaling.init_std > 0) {
        backend_.fill_normal({.x = piece,
                              .key = stream_key(seed, spec.name),
                              .std = spec.scaling.init_std,
                              .global_columns = spec.global_columns,
                              .first_row = spec.first_row + row,
                              .first_column = spec.first_column});
      } else {
        backend_.fill(piece, spec.scaling.init_value);
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

void ParameterStore::begin_gather(const GradientReducer& reducer, size_t bucket) {
  const Range range = layout_.buckets[bucket];
  if (range == wide_norms() && norms_buffer_.data()) {
    for (const SharePiece& piece : updated_.within(range)) {
      backend_.copy(norms_.slice(0, piece.flat.begin - range.begin, piece.size()), piece.of_share(master_));
    }
    gathers_.push_back({range.end, reducer.begin_gather(norms_)});
  }
  gathers_.push_back({range.end, reducer.begin_gather(part_of(weights_, range))});
}

void ParameterStore::await_weights(int64_t flat_begin) const {
  while (!gathers_.empty() && gathers_.front().flat_end > flat_begin) {
    gathers_.front().pending.wait();
    gathers_.pop_front();
  }
}

void ParameterStore::gather_weights(const GradientReducer& reducer) {
  for (size_t bucket = layout_.buckets.size(); bucket-- > 0;) begin_gather(reducer, bucket);
  await_weights(0);
}

}  // namespace retain
