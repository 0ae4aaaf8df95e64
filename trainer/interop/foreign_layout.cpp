#include "trainer/interop/foreign_layout.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace retain {
namespace {

constexpr int64_t kLayerParameters = 9;  // two norms, q k v g o, ffn up and down; then ffn gate and group norm if there

/// Row of theirs (interleaved) that is row `row` of ours (halves), within a head of `rows` rows.
int64_t interleaved_row(int64_t row, int64_t rows) { return row < rows / 2 ? 2 * row : 2 * (row - rows / 2) + 1; }

template <class Place>
std::vector<float> permute_rows(const ForeignParameter& parameter, const std::vector<float>& from, Place place) {
  const int64_t rows = parameter.shape.at(0), columns = parameter.elements() / rows, head = parameter.head_rows;
  std::vector<float> to(from.size());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t other = row / head * head + interleaved_row(row % head, head);
    const auto [target, source] = place(row, other);
    std::copy_n(from.begin() + source * columns, columns, to.begin() + target * columns);
  }
  return to;
}

void check_size(const ForeignParameter& parameter, const std::vector<float>& values) {
  RETAIN_CHECK(static_cast<int64_t>(values.size()) == parameter.elements(), parameter.name, ": got ", values.size(),
               " values, want ", parameter.elements());
}

}  // namespace

const char* foreign_layout_name(ForeignLayout layout) { return layout == ForeignLayout::kFla ? "fla" : "torchscale"; }

int64_t ForeignParameter::elements() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::vector<ForeignParameter> foreign_parameters(const ModelConfig& model, ForeignLayout layout) {
  const bool fla = layout == ForeignLayout::kFla;
  const int64_t d = model.hidden_size, key_rows = model.heads * model.key_dim(),
                value_rows = model.heads * model.value_dim();
  const bool gated = model.ffn != FfnKind::kGelu;
  std::vector<ForeignParameter> list;
  const auto add = [&](std::string ours, const std::string& in_fla, const std::string& in_torchscale,
                       std::vector<int64_t> shape, int64_t head_rows = 0) {
    list.push_back({std::move(ours), fla ? in_fla : in_torchscale, std::move(shape), fla ? 0 : head_rows});
  };
  add("embeddings.weight", "model.embeddings.weight", "embed_tokens.weight", {model.vocab_size, d});
  if (model.embedding_norm)
    add("embedding_norm.weight", "model.embedding_norm.weight", "layernorm_embedding.weight", {d});
  for (int64_t i = 0; i < model.layers; ++i) {
    const std::string ours = concat("layers.", i, "."), in_fla = "model." + ours;
    const auto projection = [&](const std::string& letter, const std::string& in_torchscale, std::vector<int64_t> shape,
                                int64_t head_rows = 0) {
      add(ours + "retention." + letter + "_proj.weight", in_fla + "attn." + letter + "_proj.weight",
          ours + "retention." + in_torchscale + "_proj.weight", std::move(shape), head_rows);
    };
    const auto ffn = [&](const std::string& name, const std::string& in_torchscale, std::vector<int64_t> shape) {
      add(ours + "ffn." + name + "_proj.weight", in_fla + "mlp." + name + "_proj.weight",
          ours + "ffn." + in_torchscale + ".weight", std::move(shape));
    };
    add(ours + "retention_norm.weight", in_fla + "attn_norm.weight", ours + "retention_layer_norm.weight", {d});
    projection("q", "q", {key_rows, d}, model.key_dim());
    projection("k", "k", {key_rows, d}, model.key_dim());
    projection("v", "v", {value_rows, d});
    projection("g", "g", {value_rows, d});
    projection("o", "out", {d, value_rows});
    if (model.group_norm_affine) {
      add(ours + "retention.group_norm.weight", in_fla + "attn.g_norm_swish_gate.weight",
          ours + "retention.group_norm.weight", {model.value_dim()});
    }
    add(ours + "ffn_norm.weight", in_fla + "mlp_norm.weight", ours + "final_layer_norm.weight", {d});
    // torchscale: fc1 is the activated branch, and "gate" the linear one.
    if (gated) ffn("gate", "fc1", {model.ffn_size, d});
    ffn("up", gated ? "gate" : "fc1", {model.ffn_size, d});
    ffn("down", "fc2", {d, model.ffn_size});
  }
  add("final_norm.weight", "model.norm.weight", "layer_norm.weight", {d});
  if (!model.tie_embeddings) add("lm_head.weight", "lm_head.weight", "output_projection.weight", {model.vocab_size, d});
  return list;
}

int64_t foreign_parameter_count(const ModelConfig& model) {
  const int64_t layer = kLayerParameters + (model.group_norm_affine ? 1 : 0) + (model.ffn != FfnKind::kGelu ? 1 : 0);
  return model.layers * layer + 2 + (model.embedding_norm ? 1 : 0) + (model.tie_embeddings ? 0 : 1);
}

std::vector<float> rows_to_ours(const ForeignParameter& parameter, std::vector<float> theirs) {
  check_size(parameter, theirs);
  if (parameter.head_rows == 0) return theirs;
  return permute_rows(parameter, theirs, [](int64_t row, int64_t other) { return std::pair(row, other); });
}

std::vector<float> rows_to_theirs(const ForeignParameter& parameter, std::vector<float> ours) {
  check_size(parameter, ours);
  if (parameter.head_rows == 0) return ours;
  return permute_rows(parameter, ours, [](int64_t row, int64_t other) { return std::pair(other, row); });
}

}  // namespace retain
