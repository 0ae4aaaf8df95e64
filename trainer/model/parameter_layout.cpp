#include "trainer/model/parameter_layout.h"

#include <algorithm>
#include <limits>

#include "trainer/model/retnet.h"

namespace retain {

namespace {

// Tensors start at multiples of this many elements, except inside a fused group, whose members are adjacent.
constexpr int64_t kTensorAlignment = 64;
// Rows of a vocabulary shard are a multiple of this: bf16 rows of the logits stay aligned to 16 bytes.
constexpr int64_t kVocabAlignment = 8;

// The box of a parameter that a rank holds.
ParameterSpec box_of(const DeclaredParameter& p, int tp_rank, int tp_size) {
  Range rows{0, p.rows}, columns{0, p.columns};
  if (p.cut == TpCut::kRows) rows = even_shard(p.rows, tp_rank, tp_size);
  if (p.cut == TpCut::kVocabulary) rows = padded_shard(p.rows, tp_rank, tp_size, kVocabAlignment);
  if (p.cut == TpCut::kColumns) columns = even_shard(p.columns, tp_rank, tp_size);
  const bool padded = p.cut == TpCut::kVocabulary;
  return {.name = p.name,
          .rank = p.is_matrix() ? 2 : 1,
          .global_rows = p.rows,
          .global_columns = p.columns,
          .first_row = rows.begin,
          .first_column = columns.begin,
          .rows = padded ? padded_shard_size(p.rows, tp_size, kVocabAlignment) : rows.size(),
          .columns = columns.size(),
          .real_rows = rows.size(),
          .scaling = p.scaling};
}

int64_t last_part(const DeclaredModel& declared) {
  int64_t last = 0;
  for (const DeclaredParameter& parameter : declared.parameters) last = std::max(last, parameter.part);
  return last;
}

/// Neighbours in the flat order that are updated alike as one range, with the padding behind them.
std::vector<UpdateRange> update_ranges(const std::vector<ParameterSpec>& parameters, int64_t flat_elements) {
  std::vector<const ParameterSpec*> specs;
  for (const ParameterSpec& spec : parameters) specs.push_back(&spec);
  std::ranges::sort(specs, {}, &ParameterSpec::flat_offset);
  std::vector<UpdateRange> ranges;
  for (const ParameterSpec* spec : specs) {
    const bool decays = spec->rank == 2;
    if (!ranges.empty() && ranges.back().group == spec->scaling.group && ranges.back().decays == decays) continue;
    if (!ranges.empty()) ranges.back().flat.end = spec->flat_offset;
    ranges.push_back({.flat = {spec->flat_offset, 0}, .group = spec->scaling.group, .decays = decays});
  }
  if (!ranges.empty()) ranges.back().flat.end = flat_elements;
  return ranges;
}

bool is_shared(const DeclaredModel& declared, int64_t part) {
  return std::any_of(declared.parameters.begin(), declared.parameters.end(),
                     [&](const DeclaredParameter& p) { return p.part == part && p.shared; });
}

}  // namespace

int64_t vocab_rows(const ModelConfig& model, int tp_size) {
  return padded_shard_size(model.vocab_size, tp_size, kVocabAlignment);
}

ParameterLayout::ParameterLayout(const ModelConfig& model, int tp_rank, int tp_size, int replicas,
                                 int64_t bucket_elements)
    : ParameterLayout(RetNet::declare(model), tp_rank, tp_size, replicas, bucket_elements) {}

ParameterLayout::ParameterLayout(const DeclaredModel& declared, int tp_rank, int tp_size, int replicas,
                                 int64_t bucket_elements) {
  std::vector<const DeclaredParameter*> listed;  // in the order of `parameters`
  const auto list = [&](const auto& belongs) {
    for (const DeclaredParameter& parameter : declared.parameters) {
      if (!belongs(parameter)) continue;
      listed.push_back(&parameter);
      parameters.push_back(box_of(parameter, tp_rank, tp_size));
    }
  };
  const auto is_matrix = [](const DeclaredParameter& p) { return p.is_matrix(); };
  const auto is_norm = [](const DeclaredParameter& p) { return p.use == ParameterUse::kNorm; };
  const auto is_group_norm = [](const DeclaredParameter& p) { return p.use == ParameterUse::kGroupNorm; };
  list(is_matrix);
  list(is_norm);
  list(is_group_norm);

  int64_t end = 0;
  const auto place = [&](const auto& belongs) -> Range {
    const int64_t begin = end;
    for (size_t i = 0; i < listed.size(); ++i) {
      if (!belongs(*listed[i])) continue;
      if (!listed[i]->adjacent) end = align_up(end, kTensorAlignment);
      parameters[i].flat_offset = end;
      end += parameters[i].elements();
    }
    end = align_up(end, kTensorAlignment);
    return {begin, end};
  };
  if (replicas == 1) bucket_elements = std::numeric_limits<int64_t>::max();  // nothing is exchanged
  int64_t begin = 0;
  for (int64_t part = last_part(declared); part >= 0; --part) {
    Range range = place([&](const DeclaredParameter& p) { return is_matrix(p) && p.part == part; });
    if (part == 0 || end - begin >= bucket_elements || is_shared(declared, part) || is_shared(declared, part - 1)) {
      range.end = end = align_up(end, kTensorAlignment * replicas);
      if (end > begin) buckets.push_back({begin, end});
      if (end > begin && !is_shared(declared, part)) passing_buckets = buckets.size();
      begin = end;
    }
    parts.insert(parts.begin(), range);
  }
  matrices = {0, end};
  norms = place(is_norm);
  group_norms = place(is_group_norm);
  flat_elements = group_norms.end = align_up(end, kTensorAlignment * replicas);
  buckets.push_back({norms.begin, flat_elements});
  updates = update_ranges(parameters, flat_elements);
}

const ParameterSpec& ParameterLayout::find(const std::string& name) const {
  for (const ParameterSpec& spec : parameters) {
    if (spec.name == name) return spec;
  }
  throw Error(ErrorKind::kInternal, "no parameter '" + name + "'");
}

ParameterCounts count_parameters(const ModelConfig& model) {
  ParameterCounts counts;
  for (const DeclaredParameter& parameter : RetNet::declare(model).parameters) {
    const int64_t elements = parameter.rows * parameter.columns;
    counts.all += elements;
    if (parameter.use == ParameterUse::kProduct) counts.matmul += elements;
  }
  return counts;
}

double flops_per_token(const ModelConfig& model) {
  return 6.0 * static_cast<double>(count_parameters(model).matmul) + RetNet::declare(model).mixer_flops;
}

}  // namespace retain
