// retain checkpoint export and import: weights to and from fla (Hugging Face) and torchscale.
#include <fmt/core.h>

#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/text.h"
#include "launch/config/saved.h"
#include "launch/config/schema.h"
#include "launch/signals.h"
#include "launch/verbs/foreign_model.h"
#include "launch/verbs/saved_model.h"
#include "launch/verbs/shown_work.h"
#include "launch/verbs/used_checkpoint.h"
#include "launch/verbs/verbs.h"
#include "launch/version.h"
#include "trainer/checkpoint/inspect.h"
#include "trainer/data/documents.h"
#include "trainer/interop/import_run.h"
#include "trainer/interop/model_export.h"
#include "trainer/new_folder.h"
#include "trainer/run/kept_tokenizer.h"
#include "trainer/run/resume.h"

namespace retain {
namespace {

const char* format_name(ForeignLayout layout) { return layout == ForeignLayout::kFla ? "hf" : "torchscale"; }

/// What others load the weights by.
ForeignText text_of(const SavedModel& saved) {
  return {.seq_len = saved.config.data.seq_len,
          .end_of_document = saved.end_token ? int64_t{*saved.end_token} : kEndOfDocumentNone};
}

/// The configuration of an imported run: what its weights decide, for `base:` of the runs that begin with them. Throws
/// Error(kData) for a value that is not legal here.
std::string config_yaml(const Config& config) {
  std::vector<Field> fields = config_fields();
  std::erase_if(fields, [](const Field& field) {
    return field.section() != "model" && field.path != "data.tokenizer" && field.path != "data.seq_len" &&
           field.path != "data.end_of_document";
  });
  std::string yaml = print_fields(
      fields, [&](const Field& field) { return field.get(config); }, [](const Field& field) { return field.doc; });
  for (const auto& [key, value] : read_saved_config(yaml).unknown)
    throw Error(ErrorKind::kData, concat("the weights ask for ", key, " = ", value, ", which Retain does not take"));
  return yaml;
}

/// What the first checkpoint says of the run.
RunState first_state(const Config& config, const Tokenizer& tokenizer, const std::string& config_text) {
  RunState state;
  state.seed = config.run.seed;
  state.mesh = {1, 1, 1};
  state.build = version() + " " + compiler();
  state.config_text = config_text;
  std::map<std::string, RunKey> keys = run_keys(config);
  const std::optional<int32_t> end = end_token(config.data, tokenizer.end_of_document());
  keys[kDataEndToken] = {.value = end ? std::to_string(*end) : kNoEndToken};
  keys["data.tokenizer"].resolved = tokenizer.fingerprint();
  state.identity = kept_values(keys);
  return state;
}

/// An export in its new folder, not yet published.
struct Export {
  std::optional<NewFolder> folder;  ///< made when there is something to write
  ExportedWeights weights;
  UsedCheckpoint used;
};

void write_export(const CheckpointExportOptions& options, const std::function<void()>& may_end, Export& done) {
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& line) {
    std::cerr << "retain: " << line << "\n";
    warnings.push_back(line);
  };
  SavedModel saved;
  const auto accept = [&](const Checkpoint& checkpoint) {
    saved = saved_model(checkpoint, warn);
    refuse_inexact(saved.config.model, options.format.layout);
    if (checkpoint.manifest().dtype == DType::kFloat64)
      warn(concat("the run's weights are float64, and are rounded to ", dtype_name(options.format.dtype)));
    if (!done.folder) done.folder.emplace(options.out);
  };
  const auto read = [&](const Checkpoint& checkpoint) {
    ShownWork shown("exporting", "bytes");
    done.weights = export_model(*weights_of(checkpoint), saved.config.model, text_of(saved), options.format,
                                done.folder->temporary().string(), [&](int64_t bytes, int64_t total) {
                                  may_end();
                                  shown.at(bytes, total);
                                });
  };
  const Checkpoint checkpoint = open_and_read(options.checkpoint, warn, {.accept = accept, .read = read});
  done.used = used_checkpoint(checkpoint, warnings);
  copy_tokenizer(saved.tokenizer_path, done.folder->temporary());
  write_origin({.run = std::filesystem::path(done.used.run).filename().string(),
                .step = done.used.step,
                .tokens = checkpoint.state().tokens,
                .digest = done.weights.digest,
                .tokenizer = saved.tokenizer->fingerprint(),
                .files = checksums_of_export(done.folder->temporary())},
               done.folder->temporary());
}

void print(const CheckpointExportOptions& options, const Export& done) {
  const ExportedWeights& exported = done.weights;
  const std::string path = done.folder->path().string();
  if (options.json) {
    const nlohmann::ordered_json json = {{"schema", 1},
                                         {"checkpoint", to_json(done.used)},
                                         {"format", format_name(options.format.layout)},
                                         {"dtype", dtype_name(options.format.dtype)},
                                         {"tensors", exported.tensors},
                                         {"bytes", exported.bytes},
                                         {"files", exported.files},
                                         {"weights_digest", exported.digest},
                                         {"path", path}};
    std::cout << json.dump(2) << "\n";
  } else {
    fmt::print("format={} dtype={} tensors={} bytes={} files={} weights_digest={} path={}\n",
               format_name(options.format.layout), dtype_name(options.format.dtype), exported.tensors, exported.bytes,
               exported.files, exported.digest, as_word(path));
  }
}

void import_model(ForeignModel& model, const std::string& out, const std::function<void()>& may_end) {
  NewFolder folder(out);
  Config& config = model.config;
  if (config.data.tokenizer != kByteTokenizer) {
    const Path kept = kept_tokenizer_folder(folder.temporary());
    std::filesystem::create_directory(kept);
    copy_tokenizer(config.data.tokenizer, kept);
    config.data.tokenizer = kept_tokenizer_folder(folder.path()).string();
  }
  const std::string yaml = config_yaml(config);
  replace_file(folder.temporary() / "config.yaml", yaml);
  ShownWork shown("importing", "shards");
  write_first_step(*weights_of(model.weights), config.model, first_state(config, *model.tokenizer, yaml),
                   folder.temporary(), [&](int64_t done, int64_t total) {
                     may_end();
                     shown.at(done, total);
                   });
  folder.publish();
  const Path step = checkpoints_directory(folder.path()) / step_name(0);
  fmt::print("format={} layers={} parameters={} tokenizer={} path={}\n", format_name(model.weights.layout()),
             config.model.layers, open_unverified(step).manifest().parameters(), as_word(model.tokenizer->name()),
             as_word(step.string()));
}

}  // namespace

int checkpoint_export(const CheckpointExportOptions& options, SignalWishes& signals) {
  return work_or_end(signals, [&](const std::function<void()>& may_end) {
    Export done;
    write_export(options, may_end, done);
    may_end();
    done.folder->publish();
    tell(done.used);
    print(options, done);
  });
}

int checkpoint_import(const CheckpointImportOptions& options, SignalWishes& signals) {
  ForeignModel model = open_foreign_model(options.folder, options.tokenizer);
  return work_or_end(signals, [&](const std::function<void()>& may_end) { import_model(model, options.out, may_end); });
}

}  // namespace retain
