#include "trainer/interop/model_config_json.h"

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "kernels/core/error.h"

namespace retain {
namespace {

using nlohmann::json;

constexpr int64_t kMaxExtent = int64_t{1} << 31;  // of any size in a configuration; products stay below 2^63
constexpr int kMaxDepth = 32;

/// The object of a config.json; what is asked of it is checked, and messages name the key.
class Reader {
 public:
  Reader(std::string_view text, const std::string& path) : path_(path) {
    std::set<std::string> keys;
    const auto on_event = [&](int depth, json::parse_event_t event, json& parsed) {
      if (depth > kMaxDepth) fail("nests deeper than 32");
      if (depth == 1 && event == json::parse_event_t::key && !keys.insert(parsed.get<std::string>()).second) {
        fail(concat("key '", parsed.get<std::string>(), "' is there twice"));
      }
      return true;
    };
    try {
      object_ = json::parse(text, on_event);
    } catch (const json::parse_error& error) {  // another library's exception becomes ours
      fail(error.what());
    }
    if (!object_.is_object()) fail("want an object");
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kData, concat(path_, ": ", message));
  }
  [[noreturn]] void fail(const std::string& key, const std::string& want) const {
    fail(concat(key, ": found ", has(key) ? object_[key].dump() : "nothing", ", want ", want));
  }

  bool has(const std::string& key) const { return object_.contains(key); }
  bool has_value(const std::string& key) const { return has(key) && !object_[key].is_null(); }

  /// A whole number from 1 on.
  int64_t size(const std::string& key, std::optional<int64_t> absent = {}) const {
    if (!has(key) && absent) return *absent;
    if (!has(key) || !object_[key].is_number_integer()) fail(key, "a whole number");
    if (object_[key].is_number_unsigned() && object_[key].get<uint64_t>() > kMaxExtent) fail(key, "at most 2147483648");
    const auto value = object_[key].get<int64_t>();
    if (value < 1) fail(key, "at least 1");
    return value;
  }
  double positive(const std::string& key, double absent) const {
    if (!has(key)) return absent;
    if (!object_[key].is_number()) fail(key, "a number");
    const auto value = object_[key].get<double>();
    if (!(value > 0 && value < 1e9)) fail(key, "a number above 0");
    return value;
  }
  bool flag(const std::string& key, bool absent) const {
    if (!has(key)) return absent;
    if (!object_[key].is_boolean()) fail(key, "true or false");
    return object_[key].get<bool>();
  }
  std::string text(const std::string& key, const std::string& absent) const {
    if (!has(key)) return absent;
    if (!object_[key].is_string()) fail(key, "a text");
    return object_[key].get<std::string>();
  }

  /// The key is absent or has one of these values.
  void require(const std::string& key, std::initializer_list<json> legal) const {
    if (!has(key)) return;
    std::string list;
    for (const json& value : legal) {
      if (object_[key] == value) return;
      list += (list.empty() ? "" : " or ") + value.dump();
    }
    fail(key, list + ": Retain does not compute the other");
  }

 private:
  const std::string& path_;
  json object_;
};

ModelConfig read_fla(const Reader& reader) {
  const auto none = json(nullptr);
  reader.require("attn", {none});
  reader.require("feature_map", {none});
  reader.require("use_short_conv", {false});
  reader.require("use_output_gate", {true});
  reader.require("attnres_block_size", {none});
  reader.require("hidden_act", {"swish"});
  ModelConfig model;
  model.layers = reader.size("num_hidden_layers", 24);
  model.hidden_size = reader.size("hidden_size", 2048);
  model.heads = reader.size("num_heads", 8);
  reader.require("num_kv_heads", {none, model.heads});
  model.key_expansion = reader.positive("expand_k", 1);
  model.value_expansion = reader.positive("expand_v", 2);
  if (reader.has_value("intermediate_size")) {
    model.ffn_size = reader.size("intermediate_size");
  } else {
    const double ratio = reader.positive("hidden_ratio", 2);
    const auto width = static_cast<int64_t>(static_cast<double>(model.hidden_size) * ratio * 2 / 3);
    model.ffn_size = (width + 255) / 256 * 256;
  }
  model.ffn = FfnKind::kSwiglu;
  model.vocab_size = reader.size("vocab_size", 32000);
  model.tie_embeddings = reader.flag("tie_word_embeddings", false);
  model.norm_eps = reader.positive("norm_eps", reader.positive("rms_norm_eps", 1e-6));  // the second is the old name
  model.decay = Decay::kEq8;
  model.rotary = Rotary::kRope;
  model.group_norm_eps = GroupNormEps::kConst;
  model.group_norm_affine = reader.flag("elementwise_affine", true);
  model.init_std = reader.positive("initializer_range", 0.02);
  return model;
}

ModelConfig read_torchscale(const Reader& reader) {
  reader.require("decoder_normalize_before", {true});
  reader.require("deepnorm", {false});
  reader.require("multiway", {false});
  reader.require("moe_freq", {0});
  reader.require("no_output_layer", {false});
  reader.require("activation_fn", {"gelu", "swish"});
  ModelConfig model;
  model.layers = reader.size("decoder_layers");
  model.hidden_size = reader.size("decoder_embed_dim");
  model.heads = reader.size("decoder_retention_heads");
  model.key_expansion = 1;
  model.value_expansion =
      static_cast<double>(reader.size("decoder_value_embed_dim")) / static_cast<double>(model.hidden_size);
  model.ffn_size = reader.size("decoder_ffn_embed_dim");
  model.ffn = reader.text("activation_fn", "gelu") == "gelu" ? FfnKind::kGeglu : FfnKind::kSwiglu;
  model.vocab_size = reader.size("vocab_size");
  model.tie_embeddings = reader.flag("share_decoder_input_output_embed", false);
  model.embedding_scale =
      reader.flag("no_scale_embedding", true) ? 1.0 : std::sqrt(static_cast<double>(model.hidden_size));
  model.embedding_norm = reader.flag("layernorm_embedding", false);
  model.norm_eps = reader.positive("layernorm_eps", 1e-6);
  model.decay = Decay::kEq8;
  model.rotary = Rotary::kTorchscale;
  model.group_norm_eps = GroupNormEps::kRowsum;
  model.group_norm_affine = false;
  return model;
}

}  // namespace

ForeignConfig parse_foreign_config(std::string_view text, const std::string& path) {
  const Reader reader(text, path);
  ForeignConfig config;
  if (reader.has("decoder_retention_heads")) {
    config = {read_torchscale(reader), ForeignLayout::kTorchscale};
  } else if (reader.text("model_type", "") == "retnet") {
    config = {read_fla(reader), ForeignLayout::kFla};
  } else {
    reader.fail(
        "neither fla's (model_type \"retnet\") nor torchscale's (decoder_retention_heads) configuration of a RetNet");
  }
  if (const auto problems = validate(config.model); !problems.empty()) {
    std::string list;
    for (const ConfigProblem& problem : problems) list += concat("\n  ", problem.key, ": ", problem.message);
    reader.fail("describes a model that Retain cannot build:" + list);
  }
  return config;
}

}  // namespace retain
