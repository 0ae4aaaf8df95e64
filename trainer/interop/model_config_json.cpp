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

/// The key is absent or has one of these values.
void require(const JsonReader& value, std::initializer_list<json> legal) {
  if (!value.exists() || std::find(legal.begin(), legal.end(), value.json()) != legal.end()) return;
  std::string list;
  for (const json& one : legal) list += (list.empty() ? "" : " or ") + one.dump();
  value.refuse(value.json().dump(), list + ": Retain does not compute the other");
}

ModelConfig read_fla(const JsonReader& config) {
  const auto none = json(nullptr);
  require(config.at("attn"), {none});
  require(config.at("feature_map"), {none});
  require(config.at("use_short_conv"), {false});
  require(config.at("use_output_gate"), {true});
  require(config.at("attnres_block_size"), {none});
  require(config.at("hidden_act"), {"swish"});
  ModelConfig model;
  model.layers = size(config.at("num_hidden_layers"), 24);
  model.hidden_size = size(config.at("hidden_size"), 2048);
  model.heads = size(config.at("num_heads"), 8);
  require(config.at("num_kv_heads"), {none, model.heads});
  model.key_expansion = positive(config.at("expand_k"), 1);
  model.value_expansion = positive(config.at("expand_v"), 2);
  if (const JsonReader width = config.at("intermediate_size"); width.exists() && !width.json().is_null()) {
    model.ffn_size = size(width);
  } else {
    const double ratio = positive(config.at("hidden_ratio"), 2);
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
  model.group_norm_affine = flag(config.at("elementwise_affine"), true);
  model.init_std = positive(config.at("initializer_range"), 0.02);
  return model;
}

ModelConfig read_torchscale(const JsonReader& config) {
  require(config.at("decoder_normalize_before"), {true});
  require(config.at("deepnorm"), {false});
  require(config.at("multiway"), {false});
  require(config.at("moe_freq"), {0});
  require(config.at("no_output_layer"), {false});
  require(config.at("activation_fn"), {"gelu", "swish"});
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

}  // namespace

ForeignConfig parse_foreign_config(std::string_view text_in, const std::string& path) {
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kData, concat(path, ": ", message)); };
  const json parsed = parse_strict_json(text_in, path + ": ");
  if (!parsed.is_object()) fail("want an object");
  const JsonReader reader(parsed, path + ": ");
  ForeignConfig config;
  if (reader.at("decoder_retention_heads").exists()) {
    config = {read_torchscale(reader), ForeignLayout::kTorchscale};
  } else if (text(reader.at("model_type"), "") == "retnet") {
    config = {read_fla(reader), ForeignLayout::kFla};
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
