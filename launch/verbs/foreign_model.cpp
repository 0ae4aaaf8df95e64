#include "launch/verbs/foreign_model.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/core/text.h"
#include "launch/version.h"
#include "parallel/agreement.h"
#include "trainer/json.h"

namespace retain {
namespace {

constexpr const char* kOriginFileName = "retain.json";
constexpr int64_t kMaxOriginBytes = 1 << 20;

std::string tokenizer_in(const std::string& folder, const ModelOrigin& origin) {
  const Outcome found = attempt([&] { read_tokenizer_files(folder); });
  if (found.ok) return folder;
  if (found.kind != ErrorKind::kMissingInput) found.throw_if_failed();
  if (origin.tokenizer == kByteTokenizer) return kByteTokenizer;
  throw Error(ErrorKind::kMissingInput,
              concat(found.message, "; `retain checkpoint import ", folder,
                     " --out RUN --tokenizer PATH` makes a run of it with another tokenizer"));
}

/// Others have as many tokens and would read and write other text.
void check_tokenizer(const Tokenizer& tokenizer, const ModelOrigin& origin, const std::string& folder) {
  const std::string fingerprint = tokenizer.fingerprint();
  if (origin.tokenizer.empty() || origin.tokenizer == fingerprint) return;
  throw Error(ErrorKind::kData, concat("the tokenizer in ", folder, " (", fingerprint,
                                       ") is not the one that its weights were trained with (", origin.tokenizer,
                                       " in ", kOriginFileName, "): put that one back, or `retain checkpoint import ",
                                       folder, " --out RUN --tokenizer PATH` makes a run with another one"));
}

}  // namespace

void write_origin(const ModelOrigin& origin, const Path& folder) {
  const nlohmann::ordered_json json = {{"schema", 1},
                                       {"run", origin.run},
                                       {"step", origin.step},
                                       {"tokens", origin.tokens},
                                       {"weights_digest", origin.digest},
                                       {"tokenizer", origin.tokenizer},
                                       {"files", origin.files},
                                       {"retain", version()}};
  replace_file(folder / kOriginFileName, json.dump(2) + "\n");
}

ModelOrigin read_origin(const std::string& folder) {
  const std::string path = folder + "/" + kOriginFileName;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  const nlohmann::json json = parse_strict_json(read_text(File::open_given(path), kMaxOriginBytes), path + ": ");
  const JsonReader reader(json, path + ": ");
  if (!json.is_object()) reader.refuse("an object");
  constexpr int64_t kMost = int64_t{1} << 62;
  const JsonReader files = reader.at("files");
  return {.run = reader.at("run").text(),
          .step = reader.at("step").whole_number(0, kMost),
          .tokens = reader.at("tokens").whole_number(0, kMost),
          .digest = reader.at("weights_digest").text(),
          .tokenizer = reader.at("tokenizer").text(),
          .files = files.exists() ? files.texts() : FileChecksums{}};
}

ForeignModel open_foreign_model(const std::string& folder, const std::string& tokenizer) {
  ModelOrigin origin = read_origin(folder);
  verify_files(folder, origin.files);
  ForeignModel model{.weights = read_model_folder(folder), .origin = std::move(origin), .config = {}, .tokenizer = {}};
  const ForeignText& text = model.weights.text();
  model.config.model = model.weights.config();
  DataConfig& data = model.config.data;
  data.seq_len = text.seq_len;
  data.tokenizer = tokenizer.empty() ? tokenizer_in(folder, model.origin) : tokenizer;
  model.tokenizer = make_tokenizer(data.tokenizer);
  if (tokenizer.empty()) check_tokenizer(*model.tokenizer, model.origin, folder);
  // What is the tokenizer's own need not be said.
  if (text.end_of_document != model.tokenizer->end_of_document()) data.end_of_document = text.end_of_document;
  if (model.tokenizer->vocab_size() > model.config.model.vocab_size) {
    throw Error(ErrorKind::kData, concat("tokenizer ", in_quotes(model.tokenizer->name()), " has ",
                                         model.tokenizer->vocab_size(), " tokens, the model in ", folder, " has ",
                                         model.config.model.vocab_size, ": it is another model's"));
  }
  return model;
}

}  // namespace retain
