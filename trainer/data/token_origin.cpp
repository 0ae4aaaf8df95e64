#include "trainer/data/token_origin.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "kernels/core/error.h"
#include "trainer/file.h"

namespace retain {
namespace {

constexpr int64_t kLimitBytes = int64_t{1} << 16;

}  // namespace

std::string origin_file(const std::string& prefix) { return prefix + ".tokens.json"; }

void write_token_origin(const std::string& prefix, int64_t tokens, int64_t documents, const Tokenizer& tokenizer) {
  const nlohmann::ordered_json json = {{"schema", 1},
                                       {"tokens", tokens},
                                       {"documents", documents},
                                       {"tokenizer",
                                        {{"name", std::string(tokenizer.name())},
                                         {"fingerprint", tokenizer.fingerprint()},
                                         {"vocab_size", tokenizer.vocab_size()},
                                         {"end_of_document", tokenizer.end_of_document()}}}};
  replace_file(origin_file(prefix), json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::optional<TokenOrigin> read_token_origin(const TokenShard& shard) {
  const std::string path = origin_file(shard.prefix());
  std::error_code unreadable;
  if (!std::filesystem::exists(path, unreadable) && !unreadable) return std::nullopt;
  const auto json = nlohmann::json::parse(read_text(File::open_input(path), kLimitBytes), nullptr, false);
  try {
    if (json.at("tokens") != shard.tokens() || json.at("documents") != shard.documents()) return std::nullopt;
    const auto& tokenizer = json.at("tokenizer");
    return TokenOrigin{.tokenizer = tokenizer.at("name").get<std::string>(),
                       .fingerprint = tokenizer.at("fingerprint").get<std::string>(),
                       .vocab_size = tokenizer.at("vocab_size").get<int64_t>()};
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::kData, concat(path,
                                         ": does not say with which tokenizer the tokens beside it were made; "
                                         "remove it if they are another program's"));
  }
}

}  // namespace retain
