#include "trainer/model/parameter_layout.h"

#include <algorithm>

namespace retain {

namespace {

// Tensors start at multiples of this many elements, except inside a fused group, whose members are adjacent.
constexpr int64_t kTensorAlignment = 64;
// Rows of a vocabulary shard are a multiple of this: bf16 rows of the logits stay aligned to 16 bytes.
constexpr int64_t kVocabAlignment = 8;

// Adds parameters in flat order.
class LayoutBuilder {
 public:
  LayoutBuilder(std::vector<ParameterSpec>& out, int tp_rank, int tp_size)
      : out_(out), tp_rank_(tp_rank), tp_size_(tp_size) {}

  void row_parallel_outputs(const std::string& name, int64_t rows, int64_t columns, double std, bool adjacent = false) {
    const Range mine = even_shard(rows, tp_rank_, tp_size_);
    add({name, 2, rows, columns, mine.begin, 0, mine.size(), columns, mine.size(), 0, std}, adjacent);
  }
  void column_parallel_inputs(const std::string& name, int64_t rows, int64_t columns, double std) {
    const Range mine = even_shard(columns, tp_rank_, tp_size_);
    add({name, 2, rows, columns, 0, mine.begin, rows, mine.size(), rows, 0, std}, false);
  }
  void vocabulary(const std::string& name, int64_t vocab, int64_t columns, double std) {
    const int64_t rows = padded_shard_size(vocab, tp_size_, kVocabAlignment);
    const Range mine = padded_shard(vocab, tp_rank_, tp_size_, kVocabAlignment);
    add({name, 2, vocab, columns, mine.begin, 0, rows, columns, mine.size(), 0, std}, false);
  }
  void norm(const std::string& name, int64_t size) { add({name, 1, size, 1, 0, 0, size, 1, size, 0, 0.0}, false); }

  int64_t align() { return used_ = align_up(used_, kTensorAlignment); }

 private:
  void add(ParameterSpec spec, bool adjacent) {
    if (!adjacent) align();
    spec.flat_offset = used_;
    used_ += spec.elements();
    out_.push_back(std::move(spec));
  }
  std::vector<ParameterSpec>& out_;
  int tp_rank_, tp_size_;
  int64_t used_ = 0;
};

}  // namespace

int64_t vocab_rows(const ModelConfig& model, int tp_size) {
  return padded_shard_size(model.vocab_size, tp_size, kVocabAlignment);
}

ParameterLayout::ParameterLayout(const ModelConfig& model, int tp_rank, int tp_size, int replicas) {
  const int64_t d = model.hidden_size, keys = model.heads * model.key_dim(), values = model.heads * model.value_dim();
  const double std = model.init_std;
  LayoutBuilder build(parameters, tp_rank, tp_size);

  build.vocabulary("embeddings.weight", model.vocab_size, d, std);
  for (int64_t i = 0; i < model.layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    build.row_parallel_outputs(layer + "retention.q_proj.weight", keys, d, std);
    build.row_parallel_outputs(layer + "retention.k_proj.weight", keys, d, std, true);
    build.row_parallel_outputs(layer + "retention.v_proj.weight", values, d, std, true);
    build.row_parallel_outputs(layer + "retention.g_proj.weight", values, d, std, true);
    build.column_parallel_inputs(layer + "retention.o_proj.weight", d, values, std);
    if (model.ffn != FfnKind::kGelu) build.row_parallel_outputs(layer + "ffn.gate_proj.weight", model.ffn_size, d, std);
    build.row_parallel_outputs(layer + "ffn.up_proj.weight", model.ffn_size, d, std, model.ffn != FfnKind::kGelu);
    build.column_parallel_inputs(layer + "ffn.down_proj.weight", d, model.ffn_size, std);
  }
  if (!model.tie_embeddings) build.vocabulary("lm_head.weight", model.vocab_size, d, std);
  matrices = {0, build.align()};

  if (model.embedding_norm) build.norm("embedding_norm.weight", d);
  for (int64_t i = 0; i < model.layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    build.norm(layer + "retention_norm.weight", d);
    build.norm(layer + "ffn_norm.weight", d);
  }
  build.norm("final_norm.weight", d);
  norms = {matrices.end, build.align()};

  if (model.group_norm_affine) {
    for (int64_t i = 0; i < model.layers; ++i) {
      build.norm("layers." + std::to_string(i) + ".retention.group_norm.weight", model.value_dim());
    }
  }
  flat_elements = align_up(build.align(), kTensorAlignment * replicas);
  group_norms = {norms.end, flat_elements};
}

const ParameterSpec& ParameterLayout::find(const std::string& name) const {
  for (const ParameterSpec& spec : parameters) {
    if (spec.name == name) return spec;
  }
  throw Error(ErrorKind::kInternal, "no parameter '" + name + "'");
}

bool ParameterLayout::has(const std::string& name) const {
  return std::any_of(parameters.begin(), parameters.end(),
                     [&](const ParameterSpec& spec) { return spec.name == name; });
}

ParameterCounts count_parameters(const ModelConfig& model) {
  ParameterCounts counts;
  for (const ParameterSpec& spec : ParameterLayout(model, 0, 1, 1).parameters) {
    const int64_t elements = spec.real_rows * spec.columns;
    counts.all += elements;
    if (spec.rank == 2 && spec.name != "embeddings.weight") counts.matmul += elements;
    if (spec.name == "embeddings.weight" && model.tie_embeddings) counts.matmul += elements;
  }
  return counts;
}

double flops_per_token(const ModelConfig& model) {
  const double retention = 12.0 * static_cast<double>(model.layers * model.heads * model.key_dim() * model.value_dim());
  return 6.0 * static_cast<double>(count_parameters(model).matmul) + retention;
}

}  // namespace retain
