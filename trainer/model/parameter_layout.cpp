#include "trainer/model/parameter_layout.h"

#include <algorithm>

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
          .init_std = p.init_std};
}

}  // namespace

int64_t vocab_rows(const ModelConfig& model, int tp_size) {
  return padded_shard_size(model.vocab_size, tp_size, kVocabAlignment);
}

ParameterLayout::ParameterLayout(const ModelConfig& model, int tp_rank, int tp_size, int replicas)
    : ParameterLayout(RetNet::declare(model), tp_rank, tp_size, replicas) {}

ParameterLayout::ParameterLayout(const DeclaredModel& declared, int tp_rank, int tp_size, int replicas) {
  int64_t end = 0;
  const auto place = [&](std::initializer_list<ParameterUse> uses) -> Range {
    const int64_t begin = end;
    for (const DeclaredParameter& parameter : declared.parameters) {
      if (std::find(uses.begin(), uses.end(), parameter.use) == uses.end()) continue;
      if (!parameter.adjacent) end = align_up(end, kTensorAlignment);
      parameters.push_back(box_of(parameter, tp_rank, tp_size));
      parameters.back().flat_offset = end;
      end += parameters.back().elements();
    }
    end = align_up(end, kTensorAlignment);
    return {begin, end};
  };
  matrices = place({ParameterUse::kLookUp, ParameterUse::kProduct});
  norms = place({ParameterUse::kNorm});
  group_norms = place({ParameterUse::kGroupNorm});
  flat_elements = group_norms.end = align_up(end, kTensorAlignment * replicas);
  buckets = {{0, flat_elements}};
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
