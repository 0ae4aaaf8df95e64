#include "trainer/inference/state_file.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <span>
#include <system_error>

#include "trainer/checkpoint/checksum.h"
#include "trainer/file.h"
#include "trainer/interop/safetensors.h"

namespace retain {

namespace {

constexpr const char* kFormat = "retain-state-1";
using Metadata = std::map<std::string, std::string>;

std::string checksum_of(const Metadata& metadata, std::span<const std::byte> state, std::span<const int32_t> tokens,
                        std::span<const uint8_t> seen) {
  const auto sum = [](std::span<const std::byte> bytes) { return to_hex(checksum(bytes.data(), std::ssize(bytes))); };
  const std::string all = concat(metadata.at("format"), " ", metadata.at("model"), " ", metadata.at("position"), " ",
                                 sum(state), sum(std::as_bytes(tokens)), sum(std::as_bytes(seen)));
  return to_hex(checksum(all.data(), std::ssize(all)));
}

std::string value(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : found->second;
}

}  // namespace

std::string model_fingerprint(Backend& backend, const ParameterStore& parameters, const ModelConfig& model) {
  const Buffer buffer(backend, sizeof(uint64_t));
  const TensorView sum(buffer.data(), DType::kInt32, {2});
  const TensorView weights = parameters.flat_weights();
  backend.fill(sum, 0);
  backend.fingerprint({.x = weights.reshaped({1, weights.elements()}), .out = sum});
  uint64_t bits = 0;
  backend.download(&bits, sum);
  const std::string all =
      concat(dtype_name(weights.dtype), " ", to_hex(bits), " ", model.layers, " ", model.hidden_size, " ", model.heads,
             " ", model.key_dim(), " ", model.value_dim(), " ", model.ffn_size, " ", static_cast<int>(model.ffn), " ",
             model.vocab_size, " ", model.tie_embeddings, " ", model.embedding_scale, " ", model.embedding_norm, " ",
             model.norm_eps, " ", model.head_eps(), " ", static_cast<int>(model.decay), " ",
             static_cast<int>(model.rotary), " ", static_cast<int>(model.group_norm_eps), " ", model.group_norm_affine);
  return to_hex(checksum(all.data(), std::ssize(all)));
}

void check_state_path(const std::string& path) {
  const auto refuse = [&](const auto&... why) {
    throw Error(ErrorKind::kCannotCreate, concat(path, ": cannot be written: ", why...));
  };
  const Path folder = Path(path).has_parent_path() ? Path(path).parent_path() : Path(".");
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) refuse("it is a folder; give a file");
  if (!std::filesystem::is_directory(folder, error)) refuse("there is no folder ", folder.string(), "; make it first");
  if (::access(folder.c_str(), W_OK) != 0) refuse(folder.string(), ": ", std::strerror(errno));
}

void write_state_file(const std::string& path, const std::string& model, const ReadPrompt& prompt) {
  const std::vector<uint8_t>& seen = prompt.seen.bytes();
  Metadata metadata = {{"format", kFormat}, {"model", model}, {"position", std::to_string(prompt.state.position)}};
  metadata["checksum"] = checksum_of(metadata, prompt.state.layers, prompt.tokens, seen);
  write_safetensors(path,
                    {{"state", "U8", {std::ssize(prompt.state.layers)}, prompt.state.layers},
                     {"tokens", "I32", {std::ssize(prompt.tokens)}, std::as_bytes(std::span(prompt.tokens))},
                     {"seen", "U8", {std::ssize(seen)}, std::as_bytes(std::span(seen))}},
                    metadata);
}

ReadPrompt read_state_file(const std::string& path, const std::string& model, int64_t vocab_size) {
  const SafetensorsFile file(path);
  const auto refuse = [&](const std::string& why) { throw Error(ErrorKind::kData, concat(path, ": ", why)); };
  const Metadata& metadata = file.metadata();
  if (value(metadata, "format") != kFormat)
    refuse(concat("is no state of a prompt that 'retain generate --save-state' has written (", kFormat, ")"));
  if (value(metadata, "model") != model)
    refuse(concat("is the state of model ", value(metadata, "model"), ", and this one is ", model,
                  ": other weights, or computed in another type; read the prompt with this model"));
  ReadPrompt prompt{.state = {}, .tokens = file.read_int("tokens"), .seen = SeenTokens(vocab_size)};
  prompt.state.layers = file.read_bytes("state");
  const std::vector<std::byte> seen = file.read_bytes("seen");
  const std::string position = value(metadata, "position");
  const char* const end = position.data() + position.size();
  const auto [rest, error] = std::from_chars(position.data(), end, prompt.state.position);
  if (error != std::errc{} || rest != end || prompt.tokens.empty() || std::ssize(seen) != vocab_size)
    refuse("is damaged: its parts do not belong together");
  if (prompt.state.position < 0 ||
      prompt.state.position > std::numeric_limits<int32_t>::max() - std::ssize(prompt.tokens))
    refuse(concat("is damaged: no text has position ", prompt.state.position));
  for (const int32_t token : prompt.tokens)
    if (token < 0 || token >= vocab_size)
      refuse(concat("is damaged: ", token, " is no token of this model (0 to ", vocab_size - 1, ")"));
  for (size_t i = 0; i < seen.size(); ++i) {
    if (seen[i] > std::byte{1}) refuse("is damaged: a token was seen, or it was not");
    prompt.seen.bytes()[i] = static_cast<uint8_t>(seen[i]);
  }
  if (value(metadata, "checksum") != checksum_of(metadata, prompt.state.layers, prompt.tokens, prompt.seen.bytes()))
    refuse("is damaged: its checksum is another one");
  return prompt;
}

}  // namespace retain
