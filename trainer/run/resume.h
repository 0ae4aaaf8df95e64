// What a run that goes on compares with its checkpoint: every key, and beside the configuration what the training data
// holds, where documents begin, the mesh, and what device and precision came to. Which may differ is said by the table
// of keys (launch/config/schema.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"
#include "trainer/config.h"

namespace retain {

/// What a resume makes of a value that is not the checkpoint's. Each is said.
enum class Resume : uint8_t {
  kMayDiffer,
  kIfAllowed,  ///< with --allow-changed KEY
  kMustAgree,  ///< it would be another model
};

/// What the sets of data.train hold, and their weights: no key of a configuration, but --allow-changed may name it.
inline constexpr const char* kDataContents = "data.contents";

/// The token that ends documents, as TrainLoader::end_token(), or kNoEndToken: it can be another without a key that is.
inline constexpr const char *kDataEndToken = "data.end_token", *kNoEndToken = "none";

/// A configuration as a checkpoint keeps it, perhaps of another release: what it does not name is at its default.
struct SavedConfig {
  Config config;
  std::map<std::string, std::string> values;   ///< of every key of this release
  std::map<std::string, std::string> unknown;  ///< as it stands there: keys and values that this release does not know
};

struct RunKey {
  std::string value;
  Resume resume = Resume::kMayDiffer;
  /// What the value came to here, where that is not always the same ("auto" -> "bf16"; the fingerprint of a tokenizer):
  /// another way to write it is no other value.
  std::string resolved = {};
};

/// What the launcher knows about a run and its checkpoints keep.
struct RunIdentity {
  std::string resolved_config;         ///< YAML that retain reads again
  std::map<std::string, RunKey> keys;  ///< all of them: "model.layers" -> "4", never to change
  std::string build;                   ///< program version and compiler
  /// Reads what `resolved_config` was in a checkpoint. Throws Error(kData) when that is no configuration.
  std::function<SavedConfig(const std::string& text)> read_config;
};

struct Change {
  std::string key;
  std::string from, to;  ///< `to` is "" for a key that this release does not know
  Resume resume = Resume::kMayDiffer;

  /// It means more than that somebody set it.
  bool is_warning() const;
  /// "optimizer.lr was 0.001 and is 0.01", and what that means where it is not plain.
  std::string describe() const;
};

/// What a manifest keeps beside the text of the configuration (RunState::identity).
std::map<std::string, std::string> kept_values(const std::map<std::string, RunKey>& keys);

/// What is not as it was when `saved` was written. An older release's checkpoint that does not say what its training
/// data held, or what a value came to, is not compared in that.
std::vector<Change> changes_since(const RunState& saved, const SavedConfig& config,
                                  const std::map<std::string, RunKey>& now, const MeshShape& mesh);

/// Throws Error(kData) naming every change that may not be, or that is not among the `allowed`, and what would help.
void refuse_changes(const std::vector<Change>& changes, const std::vector<std::string>& allowed);

/// When the learning rate of the update after `tokens` is more than a tenth away from what it was going to be: both
/// rates, and what would avoid that. Else "".
std::string find_rate_jump(const Config& before, const Config& now, int64_t tokens, const std::vector<Change>& changes);

}  // namespace retain
