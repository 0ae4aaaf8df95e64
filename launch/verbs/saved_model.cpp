#include "launch/verbs/saved_model.h"

#include <charconv>
#include <utility>

#include "kernels/core/text.h"
#include "launch/config/saved.h"
#include "trainer/data/documents.h"
#include "trainer/run/kept_tokenizer.h"

namespace retain {
namespace {

/// Checkpoints of older releases do not say what their training data showed.
std::optional<int32_t> end_token_of(const RunState& state, const DataConfig& data, const Tokenizer& tokenizer) {
  const auto kept = state.identity.find(kDataEndToken);
  if (kept == state.identity.end()) return end_token(data, tokenizer.end_of_document());
  if (kept->second == kNoEndToken) return std::nullopt;
  int32_t token = -1;
  const char* const end = kept->second.data() + kept->second.size();
  const auto [rest, error] = std::from_chars(kept->second.data(), end, token);
  if (error == std::errc{} && rest == end && token >= 0) return token;
  throw Error(ErrorKind::kData,
              concat("the checkpoint has ", kDataEndToken, " = ", in_quotes(kept->second), ", which is no token"));
}

}  // namespace

SavedModel saved_model(const Checkpoint& checkpoint, const LogLine& warn) {
  SavedConfig saved = read_saved_config(checkpoint.state().config_text);
  for (const auto& [key, value] : saved.unknown) {
    const std::string what =
        concat(key, " = ", value, " in ", checkpoint.path().string(), " is not known to this release");
    if (key.starts_with("model."))
      throw Error(ErrorKind::kData, concat(what, ": use the release that wrote it (", checkpoint.state().build, ")"));
    warn(what);
  }
  const auto kept = checkpoint.state().identity.find("data.tokenizer");
  const std::string fingerprint = kept == checkpoint.state().identity.end() ? kByteTokenizer : kept->second;
  const std::string named = saved.config.data.tokenizer;
  std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(checkpoint.path(), named, fingerprint);
  const std::optional<int32_t> end_token = end_token_of(checkpoint.state(), saved.config.data, *tokenizer);
  return {.config = std::move(saved.config),
          .tokenizer_path = tokenizer_path(checkpoint.path(), named),
          .tokenizer = std::move(tokenizer),
          .end_token = end_token};
}

}  // namespace retain
