// retain checkpoint list, verify, digest and diff: they only read, so a run may go on meanwhile.
#include <fmt/core.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/core/text.h"
#include "launch/verbs/used_checkpoint.h"
#include "launch/verbs/verbs.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/inspect.h"

namespace retain {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kDiffers = static_cast<int>(ErrorKind::kData);

void print(const Json& json) { std::cout << json.dump(2) << "\n"; }

Json describe(const Checkpoint& checkpoint) {
  return {{"path", checkpoint.path().string()}, {"step", checkpoint.state().step}};
}

// Work on the step that a path means. A run may delete its newest step between being seen and being read only after it
// has saved others; then the newest of those is meant.
template <class Work>
auto on_step(const Path& path, Work&& work) {
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt) {
    const Checkpoint checkpoint = open_unverified(path);
    try {
      return work(checkpoint);
    } catch (const Error&) {
      if (attempt == kAttempts || !is_gone(checkpoint.path())) throw;
    }
  }
}

}  // namespace

int checkpoint_list(const CheckpointListOptions& options) {
  refuse_dangling_link(options.run);
  std::error_code error;
  if (!std::filesystem::is_directory(options.run, error)) {
    throw Error(ErrorKind::kMissingInput, concat(options.run, ": no such run directory"));
  }
  Json json = Json::array();
  for (const StepSummary& s : summarize_steps(options.run)) {
    const std::string mesh = s.problem.empty() ? s.state.mesh.describe() : "";
    json.push_back({{"step", s.step},
                    {"tokens", s.state.tokens},
                    {"bytes", s.bytes},
                    {"mesh", mesh},
                    {"valid_loss", s.state.valid_loss},
                    {"condition", condition_name(s.condition)},
                    {"problem", s.problem},
                    {"path", s.path.string()}});
    if (options.json) continue;
    if (s.problem.empty()) {
      fmt::print("step={} tokens={} bytes={} mesh=\"{}\" path={}\n", s.step, s.state.tokens, s.bytes, mesh,
                 as_word(s.path.string()));
    } else {
      fmt::print("step={} {} path={} reason={}\n", s.step, condition_name(s.condition), as_word(s.path.string()),
                 as_word(s.problem));
    }
  }
  Json set_aside = Json::array();
  for (const SetAsideStep& aside : list_set_aside(checkpoints_directory(options.run))) {
    const int64_t bytes = bytes_of(aside);
    set_aside.push_back({{"step", aside.step}, {"bytes", bytes}, {"kind", aside.kind}, {"path", aside.path.string()}});
    if (options.json) continue;
    fmt::print("step={} set_aside={} bytes={} path={}\n", aside.step, aside.kind, bytes, as_word(aside.path.string()));
  }
  if (options.json) print({{"schema", 1}, {"checkpoints", json}, {"set_aside", set_aside}});
  if (!options.json && json.empty() && set_aside.empty())
    fmt::print(stderr, "no checkpoints in {}\n", checkpoints_directory(options.run).string());
  return 0;
}

int checkpoint_verify(const CheckpointVerifyOptions& options) {
  Json json = Json::array();
  int damaged = 0;
  for (const StepEntry& step : find_steps(options.path)) {
    const VerifyReport report = verify_step(step.path);
    if (!report.problems.empty() && is_gone(step.path)) continue;  // the run has deleted it meanwhile
    damaged += report.problems.empty() ? 0 : 1;
    json.push_back(
        {{"step", step.step}, {"bytes", report.bytes}, {"problems", report.problems}, {"path", step.path.string()}});
    if (options.json) continue;
    fmt::print("{} step={} bytes={} path={}\n", report.problems.empty() ? "ok     " : "DAMAGED", step.step,
               report.bytes, as_word(step.path.string()));
    for (const std::string& problem : report.problems) fmt::print("        {}\n", problem);
  }
  if (options.json) print({{"schema", 1}, {"checkpoints", json}, {"damaged", damaged}});
  return damaged == 0 ? 0 : static_cast<int>(ErrorKind::kData);
}

int checkpoint_digest(const CheckpointDigestOptions& options) {
  return on_step(options.path, [&](const Checkpoint& checkpoint) {
    const Digest digest = compute_digest(checkpoint);
    const UsedCheckpoint used = used_checkpoint(checkpoint);
    tell(used);
    if (!options.json) {
      fmt::print("step={} digest={} path={}\n", checkpoint.state().step, digest.value,
                 as_word(checkpoint.path().string()));
      return 0;
    }
    Json tensors = Json::array();
    for (const TensorDigest& tensor : digest.tensors) {
      Json entry = {{"name", tensor.name}, {"global_shape", tensor.global_shape}};
      for (size_t i = 0; i < kStates; ++i) entry[kStateNames[i]] = to_hex(tensor.states[i]);
      tensors.push_back(std::move(entry));
    }
    Json json = {{"schema", 1}, {"digest", digest.value}};
    json.update(to_json(used));
    json["tensors"] = std::move(tensors);
    print(json);
    return 0;
  });
}

int checkpoint_diff(const CheckpointDiffOptions& options) {
  return on_step(options.first, [&](const Checkpoint& first) {
    return on_step(options.second, [&](const Checkpoint& second) {
      const Difference difference = compare(first, second);
      Json tensors = Json::array();
      for (const TensorDifference& t : difference.tensors) {
        tensors.push_back({{"name", t.name},
                           {"state", t.state},
                           {"elements", t.elements},
                           {"largest", t.largest},
                           {"relative", t.relative}});
        if (options.json) continue;
        fmt::print("differs: {} {} elements={} largest={:.3e} relative={:.3e}\n", t.name, t.state, t.elements,
                   t.largest, t.relative);
      }
      if (options.json) {
        print({{"schema", 1},
               {"equal", difference.equal()},
               {"first", describe(first)},
               {"second", describe(second)},
               {"keys", difference.keys},
               {"only_first", difference.only_first},
               {"only_second", difference.only_second},
               {"tensors", tensors}});
      } else {
        for (const std::string& key : difference.keys) fmt::print("differs: {}\n", key);
        for (const std::string& name : difference.only_first) fmt::print("only in the first: {}\n", name);
        for (const std::string& name : difference.only_second) fmt::print("only in the second: {}\n", name);
        if (difference.equal()) fmt::print("equal\n");
      }
      return difference.equal() ? 0 : kDiffers;
    });
  });
}

}  // namespace retain
