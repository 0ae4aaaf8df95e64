#include "trainer/run/resume.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "trainer/data/documents.h"
#include "trainer/optimizer/schedule.h"

namespace retain {

namespace {

// Where documents begin (kDocumentsBegin), and where they did before checkpoints said so.
constexpr const char* kDocuments = "data.documents";
constexpr const char* kDocumentsOnceBegan = "after their end token";

constexpr double kCalmRateChange = 0.1;  // of the learning rate, at the joint of a resume

bool decides_rate(const std::string& key) {
  return key == "optimizer.lr" || key == "train.tokens" || key == "train.batch_tokens" || key.starts_with("schedule.");
}

}  // namespace

bool Change::is_warning() const {
  return resume != Resume::kMayDiffer || key == kDocuments || key == kDataEndToken || to.empty();
}

std::string Change::describe() const {
  if (key == kDocuments)
    return concat("documents begin ", to, ", no more ", from, ": losses are not comparable with those before");
  if (to.empty()) return concat(key, " was ", from, ", which this release does not know");
  const bool order = key == "data.seq_len", other_end = key == kDataEndToken;
  return concat(key, " was ", from, " and is ", to, order ? ": the samples that follow are drawn in a new order" : "",
                other_end ? ": documents begin with another token" : "");
}

std::map<std::string, std::string> kept_values(const std::map<std::string, RunKey>& keys) {
  std::map<std::string, std::string> kept = {{kDocuments, kDocumentsBegin}};
  for (const auto& [key, now] : keys)
    if (!now.resolved.empty())
      kept[key] = now.resolved;
    else if (now.resume != Resume::kMayDiffer || key == kDataEndToken)
      kept[key] = now.value;
  return kept;
}

std::vector<Change> changes_since(const RunState& saved, const SavedConfig& config,
                                  const std::map<std::string, RunKey>& now, const MeshShape& mesh) {
  std::vector<Change> changes;
  const auto compare = [&](const std::string& key, const std::string& then, const std::string& here, Resume resume) {
    if (then != here) changes.push_back({key, then, here, resume});
  };
  const auto kept = [&](const std::string& key, const std::string& otherwise) {
    const auto found = saved.identity.find(key);
    return found == saved.identity.end() ? otherwise : found->second;
  };
  for (const auto& [key, here] : now) {
    const auto then = config.values.find(key);
    if (key == kDataContents || key == kDataEndToken)
      compare(key, kept(key, here.value), here.value, here.resume);
    else if (!here.resolved.empty() && kept(key, here.resolved) != here.resolved)  // though it may be written alike
      compare(key, kept(key, ""), here.resolved, here.resume);
    else if (then != config.values.end())
      compare(key, then->second, here.value, here.resolved.empty() ? here.resume : Resume::kMayDiffer);
  }
  compare(kDocuments, kept(kDocuments, kDocumentsOnceBegan), kDocumentsBegin, Resume::kMayDiffer);
  compare("mesh", saved.mesh.describe(), mesh.describe(), Resume::kMayDiffer);
  for (const auto& [key, then] : config.unknown)  // what a model is made of must be understood
    changes.push_back({key, then, "", key.starts_with("model.") ? Resume::kMustAgree : Resume::kMayDiffer});
  return changes;
}

void refuse_changes(const std::vector<Change>& changes, const std::vector<std::string>& allowed) {
  std::string problems, to_allow;
  bool never = false;
  for (const Change& change : changes) {
    const bool is_allowed = std::find(allowed.begin(), allowed.end(), change.key) != allowed.end();
    if (change.resume == Resume::kMayDiffer || (change.resume == Resume::kIfAllowed && is_allowed)) continue;
    problems += concat("\n  ", change.key, ": the checkpoint has ", change.from, ", this run has ",
                       change.to.empty() ? "no such key" : change.to,
                       change.key == kDataContents      ? " (what the sets of data.train hold, and their weights)"
                       : change.key == "data.tokenizer" ? " (\"bytes\", or a tokenizer's fingerprint)"
                                                        : "");
    if (change.resume == Resume::kIfAllowed) to_allow += (to_allow.empty() ? "" : ",") + change.key;
    never = never || change.resume == Resume::kMustAgree;
  }
  if (problems.empty()) return;
  const std::string remedy = never ? "a run keeps its model: "
                                   : concat("--allow-changed ", to_allow, " goes on with what this run has; else ");
  throw Error(ErrorKind::kData,
              concat("the checkpoint is of another run:", problems, "\n", remedy,
                     "choose another run.dir for another run, or --resume never to start this one over"));
}

std::string find_rate_jump(const Config& before, const Config& now, int64_t tokens,
                           const std::vector<Change>& changes) {
  if (before.train.batch_tokens < 1) return "";  // a checkpoint without a configuration
  const double then = learning_rate(before, tokens), here = learning_rate(now, tokens);
  if (std::abs(here - then) <= kCalmRateChange * then) return "";
  std::string as_before;
  for (const Change& change : changes)
    if (decides_rate(change.key)) as_before += concat(as_before.empty() ? "" : ", ", change.key, " = ", change.from);
  // A schedule is in proportion to optimizer.lr.
  const std::string other =
      then > 0 && here > 0 ? fmt::format("optimizer.lr = {:.4g} (this schedule then goes on from the earlier rate)",
                                         now.optimizer.lr * then / here)
                           : "a checkpoint from before the rate came to its end (--resume PATH)";
  return fmt::format("the learning rate jumps from {:.3e} to {:.3e}; to avoid it: {}, or as before: {}", then, here,
                     other, as_before);
}

}  // namespace retain
