#include "trainer/interop/model_import.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "tests/trainer/data/token_files.h"
#include "trainer/interop/model_config_json.h"

namespace retain {
namespace {

using testing::HasSubstr;

// A minimal configuration of each kind, extended by a test's own keys (the first of two equal keys is refused, so a
// test replaces the text).
const std::map<std::string, std::string> kFla = {{"model_type", "\"retnet\""}, {"hidden_size", "8"},
                                                 {"num_hidden_layers", "2"},   {"num_heads", "2"},
                                                 {"intermediate_size", "6"},   {"vocab_size", "5"}};
const std::map<std::string, std::string> kTorchscale = {
    {"decoder_retention_heads", "2"}, {"decoder_embed_dim", "8"}, {"decoder_value_embed_dim", "12"},
    {"decoder_ffn_embed_dim", "6"},   {"decoder_layers", "2"},    {"vocab_size", "5"}};

std::string json_of(std::map<std::string, std::string> keys, const std::map<std::string, std::string>& changes = {}) {
  for (const auto& [key, value] : changes) keys[key] = value;
  std::string text;
  for (const auto& [key, value] : keys) {
    if (!value.empty()) text += concat(text.empty() ? "" : ",", "\"", key, "\":", value);
  }
  return "{" + text + "}";
}

ModelConfig parse(const std::map<std::string, std::string>& keys,
                  const std::map<std::string, std::string>& changes = {}) {
  return parse_foreign_config(json_of(keys, changes), "config.json").model;
}

TEST(ForeignConfig, ReadsFla) {
  const ModelConfig model = parse(kFla, {{"expand_v", "1.5"}, {"norm_eps", "1e-5"}, {"initializer_range", "0.01"}});
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.hidden_size, 8);
  EXPECT_EQ(model.heads, 2);
  EXPECT_EQ(model.key_dim(), 4);
  EXPECT_EQ(model.value_dim(), 6);
  EXPECT_EQ(model.ffn_size, 6);
  EXPECT_EQ(model.vocab_size, 5);
  EXPECT_EQ(model.ffn, FfnKind::kSwiglu);
  EXPECT_EQ(model.rotary, Rotary::kRope);
  EXPECT_EQ(model.decay, Decay::kEq8);
  EXPECT_EQ(model.group_norm_eps, GroupNormEps::kConst);
  EXPECT_TRUE(model.group_norm_affine);
  EXPECT_FALSE(model.tie_embeddings);
  EXPECT_FALSE(model.embedding_norm);
  EXPECT_EQ(model.embedding_scale, 1);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.head_eps(), 1e-5) << "one for all norms";
  EXPECT_EQ(model.init_std, 0.01);
}

TEST(ForeignConfig, FillsInFlasDefaults) {
  const ModelConfig model = parse({{"model_type", "\"retnet\""}});
  EXPECT_EQ(model.layers, 24);
  EXPECT_EQ(model.hidden_size, 2048);
  EXPECT_EQ(model.key_dim(), 256);
  EXPECT_EQ(model.value_dim(), 512);
  EXPECT_EQ(model.ffn_size, 2816);
  EXPECT_EQ(model.vocab_size, 32000);
  EXPECT_EQ(model.norm_eps, 1e-6);
  EXPECT_EQ(parse({{"model_type", "\"retnet\""}, {"hidden_size", "2560"}, {"num_heads", "10"}}).ffn_size, 3584);
  EXPECT_EQ(parse(kFla, {{"rms_norm_eps", "1e-5"}}).norm_eps, 1e-5);  // the old name
  EXPECT_FALSE(parse(kFla, {{"elementwise_affine", "false"}}).group_norm_affine);
  EXPECT_TRUE(parse(kFla, {{"tie_word_embeddings", "true"}}).tie_embeddings);
}

TEST(ForeignConfig, ReadsWhatFlaHasPublished) {
  // As its collections have it: keys of other releases, integers for numbers, nulls for what follows from others.
  const ForeignConfig config = parse_foreign_config(R"({"architectures":["RetNetForCausalLM"],"attn_mode":"fused_chunk",
    "attn":null,"bos_token_id":1,"clamp_min":null,"conv_size":4,"elementwise_affine":true,"eos_token_id":2,"expand_k":1,
    "expand_v":2,"feature_map":null,"fuse_cross_entropy":true,"fuse_norm":true,"hidden_act":"swish","hidden_ratio":2,
    "hidden_size":2048,"initializer_range":0.02,"intermediate_size":null,"max_position_embeddings":4096,
    "model_type":"retnet","num_heads":8,"num_hidden_layers":24,"num_kv_heads":null,"pad_token_id":null,
    "rms_norm_eps":1e-06,"share_conv_kernel":true,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
    "transformers_version":"4.38.2","use_cache":true,"use_output_gate":true,"use_short_conv":false,"vocab_size":32000})",
                                                    "config.json");
  int64_t elements = 0;
  const auto parameters = foreign_parameters(config.model, config.layout);
  for (const ForeignParameter& parameter : parameters) elements += parameter.elements();
  EXPECT_EQ(parameters.size(), 267U);
  EXPECT_EQ(elements, 1'351'727'104) << "of retnet-1.3B-100B";
  EXPECT_EQ(config.text, (ForeignText{.seq_len = 4096, .end_of_document = 2}));
  EXPECT_EQ(parse(kFla, {{"intermediate_size", "null"}, {"hidden_ratio", "null"}}).ffn_size, 256) << "a ratio of 4";
  EXPECT_FALSE(parse(kFla, {{"elementwise_affine", "null"}}).group_norm_affine);
}

TEST(ForeignConfig, ReadsWhereDocumentsEnd) {
  const auto end = [](std::map<std::string, std::string> keys, const std::string& token) {
    if (!token.empty()) keys["eos_token_id"] = token;
    return parse_foreign_config(json_of(keys), "config.json").text.end_of_document;
  };
  EXPECT_EQ(end(kFla, ""), 2) << "fla's default";
  EXPECT_EQ(end(kFla, "null"), kEndOfDocumentNone);
  EXPECT_EQ(end(kTorchscale, "4"), 4);
  EXPECT_EQ(end(kTorchscale, ""), kEndOfDocumentAuto);
  EXPECT_THROW(end(kFla, "5"), Error) << "there are five tokens";
}

TEST(ForeignConfig, ReadsTorchscale) {
  const ModelConfig model = parse(kTorchscale, {{"layernorm_eps", "1e-5"}});
  EXPECT_EQ(model.key_dim(), 4);
  EXPECT_EQ(model.value_dim(), 6);
  EXPECT_EQ(model.ffn, FfnKind::kGeglu);
  EXPECT_EQ(model.rotary, Rotary::kTorchscale);
  EXPECT_EQ(model.group_norm_eps, GroupNormEps::kRowsum);
  EXPECT_FALSE(model.group_norm_affine);
  EXPECT_EQ(model.embedding_scale, 1);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.head_eps(), 1e-5) << "one for all norms";
  EXPECT_EQ(parse(kTorchscale, {{"activation_fn", "\"swish\""}}).ffn, FfnKind::kSwiglu);
  EXPECT_EQ(parse(kTorchscale, {{"no_scale_embedding", "false"}}).embedding_scale, std::sqrt(8.0));
  EXPECT_TRUE(parse(kTorchscale, {{"layernorm_embedding", "true"}}).embedding_norm);
  EXPECT_TRUE(parse(kTorchscale, {{"share_decoder_input_output_embed", "true"}}).tie_embeddings);
}

TEST(ForeignConfig, RefusesByNameWhatRetainDoesNotCompute) {
  const auto expect = [](const std::map<std::string, std::string>& keys, const std::string& key,
                         const std::string& value) {
    EXPECT_THAT(message_of(ErrorKind::kData,
                           [&] {
                             parse(keys, {{key, value}});
                           }),
                testing::AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr(value)));
  };
  expect(kFla, "attn", R"({"layers":[1]})");
  expect(kFla, "feature_map", "\"relu\"");
  expect(kFla, "use_short_conv", "true");
  expect(kFla, "use_output_gate", "false");
  expect(kFla, "attnres_block_size", "4");
  expect(kFla, "num_kv_heads", "1");
  expect(kFla, "hidden_act", "\"gelu\"");
  expect(kTorchscale, "deepnorm", "true");
  expect(kTorchscale, "multiway", "true");
  expect(kTorchscale, "moe_freq", "2");
  expect(kTorchscale, "activation_fn", "\"relu\"");
  expect(kTorchscale, "decoder_normalize_before", "false");
  expect(kTorchscale, "no_output_layer", "true");
  EXPECT_NO_THROW(parse(kFla, {{"num_kv_heads", "2"}, {"feature_map", "null"}, {"attn", "null"}}));
}

TEST(ForeignConfig, RefusesWhatIsNoConfiguration) {
  const auto expect = [](const std::string& text, const std::string& want) {
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { parse_foreign_config(text, "config.json"); }), HasSubstr(want));
  };
  expect("", "parse error");
  expect("[]", "want an object");
  expect("{}", "neither fla's");
  expect(R"({"model_type":"llama"})", "neither fla's");
  expect(R"({"model_type":3})", "model_type: found 3, want a text");
  expect(R"({"model_type":"retnet","model_type":"retnet"})", "'model_type' is there twice");
  expect(json_of(kFla, {{"hidden_size", "\"8\""}}), "hidden_size: found \"8\", want a whole number");
  expect(json_of(kFla, {{"hidden_size", "8.5"}}), "hidden_size: found 8.5");
  expect(json_of(kFla, {{"hidden_size", "null"}}), "hidden_size: found null");
  expect(json_of(kFla, {{"num_heads", "0"}}), "num_heads: found 0");
  expect(json_of(kFla, {{"num_heads", "-2"}}), "num_heads: found -2");
  expect(json_of(kFla, {{"vocab_size", "99999999999999999999"}}), "vocab_size");
  expect(json_of(kFla, {{"vocab_size", "18446744073709551615"}}), "vocab_size");
  expect(json_of(kFla, {{"num_heads", "3"}}), "model.heads = 3");
  expect(json_of(kFla, {{"expand_k", "0.3"}}), "model.key_expansion");
  expect(json_of(kFla, {{"norm_eps", "0"}}), "norm_eps: found 0");
  expect(json_of(kFla, {{"norm_eps", "1e999"}}), "1e999");
  expect(json_of(kFla, {{"tie_word_embeddings", "1"}}), "tie_word_embeddings: found 1, want true or false");
  expect(json_of(kTorchscale, {{"decoder_layers", ""}}), "decoder_layers: found nothing");
  expect(R"({"a":)" + std::string(100'000, '['), "nests deeper");
}

TEST(ForeignLayout, CountsWhatItLists) {
  for (const FfnKind ffn : {FfnKind::kSwiglu, FfnKind::kGeglu, FfnKind::kGelu}) {
    for (int bits = 0; bits < 8; ++bits) {
      ModelConfig model = parse(kFla);
      model.ffn = ffn;
      model.tie_embeddings = bits & 1;
      model.embedding_norm = bits & 2;
      model.group_norm_affine = bits & 4;
      EXPECT_EQ(static_cast<int64_t>(foreign_parameters(model, ForeignLayout::kFla).size()),
                foreign_parameter_count(model));
    }
  }
}

TEST(ForeignLayout, NamesTheActivatedBranchGate) {
  const auto find = [](const std::vector<ForeignParameter>& list, const std::string& name) {
    const auto at = std::find_if(list.begin(), list.end(), [&](const auto& p) { return p.name == name; });
    return at == list.end() ? std::string("none") : at->foreign_name;
  };
  const auto ts = foreign_parameters(parse(kTorchscale), ForeignLayout::kTorchscale);
  EXPECT_EQ(find(ts, "layers.1.ffn.gate_proj.weight"), "layers.1.ffn.fc1.weight");
  EXPECT_EQ(find(ts, "layers.1.ffn.up_proj.weight"), "layers.1.ffn.gate.weight");
  EXPECT_EQ(find(ts, "layers.1.ffn.down_proj.weight"), "layers.1.ffn.fc2.weight");
  EXPECT_EQ(find(ts, "layers.1.ffn_norm.weight"), "layers.1.final_layer_norm.weight");
  EXPECT_EQ(find(ts, "layers.0.retention.o_proj.weight"), "layers.0.retention.out_proj.weight");
  EXPECT_EQ(find(ts, "final_norm.weight"), "layer_norm.weight");
  const auto fla = foreign_parameters(parse(kFla), ForeignLayout::kFla);
  EXPECT_EQ(find(fla, "layers.1.ffn.gate_proj.weight"), "model.layers.1.mlp.gate_proj.weight");
  EXPECT_EQ(find(fla, "layers.1.retention.group_norm.weight"), "model.layers.1.attn.g_norm_swish_gate.weight");
  EXPECT_EQ(find(fla, "lm_head.weight"), "lm_head.weight");
}

TEST(ForeignLayout, PermutesInterleavedRowsOfEachHeadToHalves) {
  const ForeignParameter q{"q", "q", {12, 1}, 6};  // two heads of six rows
  const std::vector<float> theirs = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_EQ(rows_to_ours(q, theirs), (std::vector<float>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}));
  EXPECT_EQ(rows_to_theirs(q, rows_to_ours(q, theirs)), theirs);
  const ForeignParameter v{"v", "v", {12, 1}, 0};
  EXPECT_EQ(rows_to_ours(v, theirs), theirs);
  EXPECT_THROW(rows_to_ours(v, {1, 2}), Error);
}

TEST(ForeignLayout, ThePermutationTurnsOneRotationIntoTheOther) {
  // A head of 6: rotating neighbours (torchscale) and permuting is permuting and rotating halves (ours).
  const ForeignParameter head{"q", "q", {6, 1}, 6};
  std::vector<float> x = {0.3F, -1, 2, 0.5F, -0.7F, 1.1F};
  const auto rotate = [](std::vector<float> v, size_t a, size_t b, double angle) {
    const float c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
    const float va = v[a], vb = v[b];
    v[a] = va * c - vb * s;
    v[b] = vb * c + va * s;
    return v;
  };
  std::vector<float> neighbours = x, halves = rows_to_ours(head, x);
  for (size_t i = 0; i < 3; ++i) {
    neighbours = rotate(neighbours, 2 * i, 2 * i + 1, 0.4 + static_cast<double>(i));
    halves = rotate(halves, i, i + 3, 0.4 + static_cast<double>(i));
  }
  EXPECT_EQ(rows_to_ours(head, neighbours), halves);
}

/// A folder with a model whose weights are numbered: tensor k holds k + element / 1000.
class ModelFolder : public testing::Test {
 protected:
  void write(const std::string& config, ForeignLayout layout, const std::string& prefix = "") {
    write_file(folder_.file("config.json"), config);
    parameters_ = foreign_parameters(parse_foreign_config(config, "").model, layout);
    values_.clear();
    for (const ForeignParameter& parameter : parameters_) {
      std::vector<float>& values = values_[prefix + parameter.foreign_name];
      for (int64_t i = 0; i < parameter.elements(); ++i) {
        values.push_back(static_cast<float>(values_.size()) + static_cast<float>(i) / 1000);
      }
      shapes_[prefix + parameter.foreign_name] = parameter.shape;
    }
    write_weights();
  }
  void write_weights() const {
    std::vector<SafetensorsTensor> tensors;
    for (const auto& [name, values] : values_) {
      tensors.push_back({name, "F32", shapes_.at(name), std::as_bytes(std::span(values))});
    }
    write_safetensors(folder_.file("model.safetensors"), tensors);
  }
  void add(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    shapes_[name] = std::move(shape);
    values_[name] = std::move(values);
    write_weights();
  }
  void rename(const std::string& from, const std::string& to) {
    shapes_[to] = shapes_.at(from);
    values_[to] = values_.at(from);
    values_.erase(from);
    write_weights();
  }
  ImportedModel read() const { return read_model_folder(folder_.file("")); }
  std::string refusal() const {
    return message_of(ErrorKind::kData, [&] { read(); });
  }
  const TestFolder folder_;
  std::vector<ForeignParameter> parameters_;
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, std::vector<int64_t>> shapes_;
};

TEST_F(ModelFolder, FlaGivesEveryParameterUnderOurName) {
  write(json_of(kFla), ForeignLayout::kFla);
  const ImportedModel model = read();
  EXPECT_EQ(model.layout(), ForeignLayout::kFla);
  EXPECT_EQ(model.parameters().size(), parameters_.size());
  for (const ForeignParameter& p : model.parameters()) EXPECT_EQ(model.read(p.name), values_.at(p.foreign_name));
  EXPECT_EQ(model.parameter("layers.1.retention.o_proj.weight").shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(model.parameter("layers.1.retention.group_norm.weight").shape, (std::vector<int64_t>{8}));
  EXPECT_THROW(model.read("layers.2.ffn_norm.weight"), Error);
}

TEST_F(ModelFolder, TorchscalePermutesQueriesAndKeysOnly) {
  write(json_of(kTorchscale), ForeignLayout::kTorchscale);
  const ImportedModel model = read();
  for (const ForeignParameter& p : model.parameters()) {
    const bool rotated = p.name.ends_with(".q_proj.weight") || p.name.ends_with(".k_proj.weight");
    const std::vector<float> ours = model.read(p.name);
    EXPECT_EQ(ours == values_.at(p.foreign_name), !rotated) << p.name;
    EXPECT_EQ(rows_to_theirs(p, ours), values_.at(p.foreign_name));
  }
  const std::vector<float> q = model.read("layers.0.retention.q_proj.weight");
  const std::vector<float>& theirs = values_.at("layers.0.retention.q_proj.weight");
  EXPECT_EQ(std::vector<float>(q.begin() + 8, q.begin() + 16),
            std::vector<float>(theirs.begin() + 16, theirs.begin() + 24));
}

TEST_F(ModelFolder, ReadsGradientsInOurOrder) {
  write(json_of(kTorchscale), ForeignLayout::kTorchscale);
  const ImportedModel model = read();
  const ForeignParameter& q = model.parameter("layers.0.retention.q_proj.weight");
  std::vector<float> gradient(64);
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<float>(i);
  write_safetensors(folder_.file("golden.safetensors"),
                    {{"grad." + q.foreign_name, "F32", {8, 8}, std::as_bytes(std::span(gradient))}});
  const SafetensorsFile golden(folder_.file("golden.safetensors"));
  EXPECT_EQ(read_as_ours(golden, q, "grad."), rows_to_ours(q, gradient));
  const ForeignParameter& k = model.parameter("layers.0.retention.k_proj.weight");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_as_ours(golden, k, "grad."); }),
              HasSubstr("grad.layers.0.retention.k"));
}

TEST_F(ModelFolder, AcceptsFairseqsPrefixAndTheBuffers) {
  write(json_of(kTorchscale), ForeignLayout::kTorchscale, "decoder.");
  add("decoder.retnet_rel_pos.angle", {4}, {1, 1, 1e-4F, 1e-4F});
  add("decoder.version", {1}, {3});
  EXPECT_EQ(read().parameter("embeddings.weight").foreign_name, "decoder.embed_tokens.weight");
}

TEST_F(ModelFolder, AcceptsFlasUnfusedGroupNorm) {
  write(json_of(kFla), ForeignLayout::kFla);
  for (const std::string i : {"0", "1"}) {
    rename("model.layers." + i + ".attn.g_norm_swish_gate.weight", "model.layers." + i + ".attn.g_norm.weight");
  }
  EXPECT_EQ(read().read("layers.1.retention.group_norm.weight"), values_.at("model.layers.1.attn.g_norm.weight"));
}

TEST_F(ModelFolder, TiedEmbeddingsMayBeStoredTwiceOnlyIfEqual) {
  write(json_of(kFla, {{"tie_word_embeddings", "true"}}), ForeignLayout::kFla);
  EXPECT_THROW(read().parameter("lm_head.weight"), Error);
  std::vector<float> copy = values_.at("model.embeddings.weight");
  add("lm_head.weight", {5, 8}, copy);
  EXPECT_NO_THROW(read());
  copy[3] += 1;
  add("lm_head.weight", {5, 8}, copy);
  EXPECT_THAT(refusal(), HasSubstr("'lm_head.weight' is another matrix than 'model.embeddings.weight', and the "
                                   "configuration ties embeddings"));
}

TEST_F(ModelFolder, NamesTheTensorThatIsNotFinite) {
  write(json_of(kTorchscale), ForeignLayout::kTorchscale);
  values_.at("layers.1.ffn.fc2.weight")[13] = std::numeric_limits<float>::infinity();
  values_.at("layers.0.retention.q_proj.weight")[17] = std::numeric_limits<float>::quiet_NaN();  // its third row
  write_weights();
  const ImportedModel model = read();
  const auto refusal_of = [&](const std::string& name) {
    return message_of(ErrorKind::kData, [&] { static_cast<void>(model.read(name)); });
  };
  EXPECT_THAT(refusal_of("layers.1.ffn.down_proj.weight"),
              HasSubstr("tensor 'layers.1.ffn.fc2.weight' holds inf in row 2, column 1"));
  EXPECT_THAT(refusal_of("layers.0.retention.q_proj.weight"),
              HasSubstr("tensor 'layers.0.retention.q_proj.weight' holds nan in row 2, column 1"));
  EXPECT_NO_THROW(model.read("layers.1.retention.q_proj.weight"));
}

TEST_F(ModelFolder, NamesTheTensorThatIsWrong) {
  write(json_of(kFla), ForeignLayout::kFla);
  add("model.layers.0.attn.q_conv.weight", {1}, {1});
  EXPECT_THAT(refusal(), HasSubstr("'model.layers.0.attn.q_conv.weight' is none"));
  values_.erase("model.layers.0.attn.q_conv.weight");
  shapes_["model.norm.weight"] = {2, 4};
  write_weights();
  EXPECT_THAT(refusal(), HasSubstr("'model.norm.weight' is F32[2,4], the configuration asks for F32[8]"));
  shapes_["model.norm.weight"] = {8};
  rename("model.norm.weight", "model.norm.bias");
  EXPECT_THAT(refusal(), HasSubstr("has no tensor 'model.norm.weight'"));
  rename("model.norm.bias", "model.norm.weight");
  EXPECT_NO_THROW(read());
}

TEST_F(ModelFolder, AConfigurationWithTooManyLayersCostsNothing) {
  write(json_of(kFla), ForeignLayout::kFla);
  write_file(folder_.file("config.json"), json_of(kFla, {{"num_hidden_layers", "2000000000"}}));
  EXPECT_THAT(refusal(), HasSubstr("asks for 22000000003"));
}

TEST_F(ModelFolder, SaysWhichFileIsMissing) {
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { read(); }), HasSubstr("config.json"));
  write_file(folder_.file("config.json"), json_of(kFla));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { read(); }), HasSubstr("model.safetensors"));
}

}  // namespace
}  // namespace retain
