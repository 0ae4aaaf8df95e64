#include "trainer/interop/model_config_writer.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace retain {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kWidestKeysOfFla = 256;  // of a head

double torchscale_scale(const ModelConfig& model) { return std::sqrt(static_cast<double>(model.hidden_size)); }

Json end_token(const ForeignText& text) {
  return text.end_of_document >= 0 ? Json(text.end_of_document) : Json(nullptr);
}

const char* torch_name(DType dtype) { return dtype == DType::kBfloat16 ? "bfloat16" : "float32"; }

/// What fla makes `width` of, which cuts off behind the point: int(hidden_size * expand_v).
double expansion_to(int64_t width, int64_t hidden_size) {
  const auto hidden = static_cast<double>(hidden_size), wanted = static_cast<double>(width);
  double expansion = wanted / hidden;
  while (hidden * expansion < wanted) expansion = std::nextafter(expansion, std::numeric_limits<double>::infinity());
  return expansion;
}

Json fla_config(const ModelConfig& model, const ForeignText& text, DType dtype) {
  const auto expansion = [&](int64_t of_one_head) {
    return expansion_to(of_one_head * model.heads, model.hidden_size);
  };
  return {{"architectures", {"RetNetForCausalLM"}},
          {"model_type", "retnet"},
          {"torch_dtype", torch_name(dtype)},
          {"attn_mode", "chunk"},
          {"hidden_size", model.hidden_size},
          {"num_hidden_layers", model.layers},
          {"num_heads", model.heads},
          {"num_kv_heads", nullptr},
          {"expand_k", expansion(model.key_dim())},
          {"expand_v", expansion(model.value_dim())},
          {"intermediate_size", model.ffn_size},
          {"hidden_act", "swish"},
          {"vocab_size", model.vocab_size},
          {"tie_word_embeddings", model.tie_embeddings},
          {"elementwise_affine", model.group_norm_affine},
          {"norm_eps", model.norm_eps},
          {"initializer_range", model.init_std},
          {"max_position_embeddings", text.seq_len},
          {"bos_token_id", end_token(text)},
          {"eos_token_id", end_token(text)},
          {"pad_token_id", nullptr},
          {"attn", nullptr},
          {"feature_map", nullptr},
          {"use_short_conv", false},
          {"use_output_gate", true},
          {"fuse_norm", true},
          {"use_cache", true}};
}

Json torchscale_config(const ModelConfig& model, const ForeignText& text, DType dtype) {
  return {{"decoder_embed_dim", model.hidden_size},
          {"decoder_value_embed_dim", model.value_dim() * model.heads},
          {"decoder_retention_heads", model.heads},
          {"decoder_ffn_embed_dim", model.ffn_size},
          {"decoder_layers", model.layers},
          {"decoder_normalize_before", true},
          {"activation_fn", model.ffn == FfnKind::kGeglu ? "gelu" : "swish"},
          {"dropout", 0.0},
          {"drop_path_rate", 0.0},
          {"activation_dropout", 0.0},
          {"no_scale_embedding", model.embedding_scale == 1},
          {"layernorm_embedding", model.embedding_norm},
          {"moe_freq", 0},
          {"deepnorm", false},
          {"subln", true},
          {"multiway", false},
          {"share_decoder_input_output_embed", model.tie_embeddings},
          {"max_target_positions", text.seq_len},
          {"no_output_layer", false},
          {"layernorm_eps", model.norm_eps},
          {"vocab_size", model.vocab_size},
          {"torch_dtype", torch_name(dtype)},
          {"bos_token_id", end_token(text)},
          {"eos_token_id", end_token(text)}};
}

/// A line for each key for which the layout has no equal.
std::string inexact_keys(const ModelConfig& model, ForeignLayout layout) {
  std::string problems;
  const auto want = [&](bool exact, const char* key, const std::string& why) {
    if (!exact) problems += concat("\n  model.", key, ": ", why);
  };
  want(model.decay == Decay::kEq8, "decay", "it decays by eq8");
  want(model.head_eps() == model.norm_eps, "head_norm_eps", "its norm of heads has the epsilon of the other norms");
  if (layout == ForeignLayout::kFla) {
    want(model.rotary == Rotary::kRope, "rotary", "it turns by other angles (rope)");
    want(model.group_norm_eps == GroupNormEps::kConst, "group_norm_eps", "its epsilon is the same everywhere (const)");
    want(model.ffn == FfnKind::kSwiglu, "ffn", "its FFN is swiglu");
    want(model.embedding_scale == 1, "embedding_scale", "it does not scale embeddings");
    want(!model.embedding_norm, "embedding_norm", "it has no norm behind the embedding");
    want(model.key_dim() <= kWidestKeysOfFla, "heads",
         concat("its heads have at most ", kWidestKeysOfFla, " keys, these have ", model.key_dim()));
  } else {
    want(model.rotary == Rotary::kTorchscale, "rotary", "it turns by other angles (torchscale)");
    want(model.group_norm_eps == GroupNormEps::kRowsum, "group_norm_eps", "its epsilon grows with the place (rowsum)");
    want(model.ffn != FfnKind::kGelu, "ffn", "its FFN is gated: swiglu or geglu");
    want(model.embedding_scale == 1 || model.embedding_scale == torchscale_scale(model), "embedding_scale",
         "it scales embeddings by 1 or the root of hidden_size");
    want(model.key_dim() * model.heads == model.hidden_size, "key_expansion", "its keys are as wide as the model");
  }
  return problems;
}

}  // namespace

void refuse_inexact(const ModelConfig& model, ForeignLayout layout) {
  const std::string problems = inexact_keys(model, layout);
  if (problems.empty()) return;
  const bool fla = layout == ForeignLayout::kFla;
  const std::string other = inexact_keys(model, fla ? ForeignLayout::kTorchscale : ForeignLayout::kFla);
  throw Error(ErrorKind::kConfig,
              concat("this model is not exported: none of ", fla ? "fla's RetNet" : "torchscale's RetNetDecoder",
                     " computes exactly the same:", problems,
                     other.empty() ? concat("\n--format ", fla ? "torchscale" : "hf", " has it") : ""));
}

ModelConfig exported_model(const ModelConfig& model, ForeignLayout layout) {
  ModelConfig exported = model;
  if (layout == ForeignLayout::kTorchscale) exported.group_norm_affine = false;
  return exported;
}

std::string format_foreign_config(const ModelConfig& model, ForeignLayout layout, const ForeignText& text,
                                  DType dtype) {
  const Json config =
      layout == ForeignLayout::kFla ? fla_config(model, text, dtype) : torchscale_config(model, text, dtype);
  return config.dump(2) + "\n";
}

}  // namespace retain
