#include "trainer/interop/model_config_json.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "kernels/core/error.h"
#include "trainer/json.h"

namespace retain {
namespace {

using nlohmann::json;

constexpr int64_t kMaxExtent = int64_t{1} << 31;  // of any size in a configuration; products stay below 2^63

/// A whole number from 1 on.
int64_t size(const JsonReader& value) { return value.whole_number(1, kMaxExtent); }
int64_t size(const JsonReader& value, int64_t absent) { return value.exists() ? size(value) : absent; }

double positive(const JsonReader& value, double absent) {
  if (!value.exists()) return absent;
  const double number = value.number();
  if (!(number > 0 && number < 1e9)) value.refuse("a number above 0");
  return number;
}

bool flag(const JsonReader& value, bool absent) { return value.exists() ? value.flag() : absent; }
std::string text(const JsonReader& value, const std::string& absent) { return value.exists() ? value.text() : absent; }

/// The key is absent or has one of these values; `other` is what another one would be.
void require(const JsonReader& value, std::initializer_list<json> legal, const std::string& other) {
  if (!value.exists() || std::find(legal.begin(), legal.end(), value.json()) != legal.end()) return;
  std::string list;
  for (const json& one : legal) list += (list.empty() ? "" : " or ") + one.dump();
  value.refuse(value.json().dump(), concat(list, ": Retain does not compute ", other));
}

/// The end of documents: a token, null, or nothing.
int64_t end_of_document(const JsonReader& value, int64_t absent, int64_t vocab_size) {
  if (!value.exists()) return absent < vocab_size ? absent : kEndOfDocumentAuto;
  return value.json().is_null() ? kEndOfDocumentNone : value.whole_number(0, vocab_size - 1);
}

ModelConfig read_fla(const JsonReader& config) {
  const auto none = json(nullptr);
  require(config.at("attn"), {none}, "hybrids with layers of attention");
  require(config.at("feature_map"), {none}, "feature maps");
  require(config.at("use_short_conv"), {false}, "short convolutions");
  require(config.at("use_output_gate"), {true}, "retention without its gate");
  require(config.at("attnres_block_size"), {none}, "residuals by attention");
  require(config.at("hidden_act"), {"swish"}, "another activation in fla's layout");
  ModelConfig model;
  model.layers = size(config.at("num_hidden_layers"), 24);
  model.hidden_size = size(config.at("hidden_size"), 2048);
  model.heads = size(config.at("num_heads"), 8);
  require(config.at("num_kv_heads"), {none, model.heads}, "heads that share keys");
  model.key_expansion = positive(config.at("expand_k"), 1);
  model.value_expansion = positive(config.at("expand_v"), 2);
  if (const JsonReader width = config.at("intermediate_size"); width.exists() && !width.json().is_null()) {
    model.ffn_size = size(width);
  } else {
    const JsonReader given = config.at("hidden_ratio");
    const double ratio = given.exists() && given.json().is_null() ? 4 : positive(given, 2);  // fla's GatedMLP
    const auto wanted = static_cast<int64_t>(static_cast<double>(model.hidden_size) * ratio * 2 / 3);
    model.ffn_size = (wanted + 255) / 256 * 256;
  }
  model.ffn = FfnKind::kSwiglu;
  model.vocab_size = size(config.at("vocab_size"), 32000);
  model.tie_embeddings = flag(config.at("tie_word_embeddings"), false);
  model.norm_eps =
      positive(config.at("norm_eps"), positive(config.at("rms_norm_eps"), 1e-6));  // the second is the old name
  model.decay = Decay::kEq8;
  model.rotary = Rotary::kRope;
  model.group_norm_eps = GroupNormEps::kConst;
  const JsonReader affine = config.at("elementwise_affine");
  model.group_norm_affine = affine.exists() && affine.json().is_null() ? false : flag(affine, true);
  model.init_std = positive(config.at("initializer_range"), 0.02);
  return model;
}

// What fla takes for absent keys is what its class says.
ForeignText read_fla_text(const JsonReader& config, const ModelConfig& model) {
  constexpr int64_t kEos = 2;
  return {.seq_len = size(config.at("max_position_embeddings"), 2048),
          .end_of_document = end_of_document(config.at("eos_token_id"), kEos, model.vocab_size)};
}

ModelConfig read_torchscale(const JsonReader& config) {
  require(config.at("decoder_normalize_before"), {true}, "norms behind the layers");
  require(config.at("deepnorm"), {false}, "DeepNorm");
  require(config.at("multiway"), {false}, "multiway networks");
  require(config.at("moe_freq"), {0}, "mixtures of experts");
  require(config.at("no_output_layer"), {false}, "models without an output");
  require(config.at("activation_fn"), {"gelu", "swish"}, "another activation");
  ModelConfig model;
  model.layers = size(config.at("decoder_layers"));
  model.hidden_size = size(config.at("decoder_embed_dim"));
  model.heads = size(config.at("decoder_retention_heads"));
  model.key_expansion = 1;
  model.value_expansion =
      static_cast<double>(size(config.at("decoder_value_embed_dim"))) / static_cast<double>(model.hidden_size);
  model.ffn_size = size(config.at("decoder_ffn_embed_dim"));
  model.ffn = text(config.at("activation_fn"), "gelu") == "gelu" ? FfnKind::kGeglu : FfnKind::kSwiglu;
  model.vocab_size = size(config.at("vocab_size"));
  model.tie_embeddings = flag(config.at("share_decoder_input_output_embed"), false);
  model.embedding_scale =
      flag(config.at("no_scale_embedding"), true) ? 1.0 : std::sqrt(static_cast<double>(model.hidden_size));
  model.embedding_norm = flag(config.at("layernorm_embedding"), false);
  model.norm_eps = positive(config.at("layernorm_eps"), 1e-6);
  model.decay = Decay::kEq8;
  model.rotary = Rotary::kTorchscale;
  model.group_norm_eps = GroupNormEps::kRowsum;
  model.group_norm_affine = false;
  return model;
}

// torchscale's own arguments say nothing of tokens; exports of Retain do.
ForeignText read_torchscale_text(const JsonReader& config, const ModelConfig& model) {
  return {.seq_len = size(config.at("max_target_positions"), 1024),
          .end_of_document = end_of_document(config.at("eos_token_id"), kEndOfDocumentAuto, model.vocab_size)};
}

}  // namespace

ForeignConfig parse_foreign_config(std::string_view text_in, const std::string& path) {
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kData, concat(path, ": ", message)); };
  const json parsed = parse_strict_json(text_in, path + ": ");
  if (!parsed.is_object()) fail("want an object");
  const JsonReader reader(parsed, path + ": ");
  ForeignConfig config;
  if (reader.at("decoder_retention_heads").exists()) {
    config = {.model = read_torchscale(reader), .layout = ForeignLayout::kTorchscale};
    config.text = read_torchscale_text(reader, config.model);
  } else if (text(reader.at("model_type"), "") == "retnet") {
    config = {.model = read_fla(reader), .layout = ForeignLayout::kFla};
    config.text = read_fla_text(reader, config.model);
  } else {
    fail("neither fla's (model_type \"retnet\") nor torchscale's (decoder_retention_heads) configuration of a RetNet");
  }
  if (const auto problems = validate(config.model); !problems.empty()) {
    std::string list;
    for (const ConfigProblem& problem : problems) list += concat("\n  ", problem.key, ": ", problem.message);
    fail("describes a model that Retain cannot build:" + list);
  }
  return config;
}

}  // namespace retain
