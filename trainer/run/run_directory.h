// The folder of a run (config.yaml, resolved.yaml, environment.json, log.txt, metrics.jsonl, events.jsonl, ranks/,
// tensorboard/, checkpoints/, STOP, DONE, FAILED). Only rank 0 writes to it, apart from the checkpoint's shards,
// ranks/, and FAILED, which the rank writes that failed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace retain {

class RunDirectory {
 public:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}

  /// Creates the folder (ranks/ and tensorboard/ in it) and proves that it can be written. Throws Error(kCannotCreate)
  /// naming the path.
  void create() const;
  /// Writes a small text file whole and durably (replace_file). Throws Error(kIo).
  void write(const std::string& name, const std::string& text) const;
  /// For a run without a checkpoint: throws Error(kData) when its own records (`latest`, events.jsonl since the run
  /// last began, DONE, steps found damaged) speak of some.
  void refuse_lost_checkpoints() const;
  /// Does the path lead to the run directory, or to something in it?
  bool holds(const std::string& path) const;
  /// A file of that name is known to be there.
  bool has(const std::string& name) const;
  void remove(const std::string& name) const;
  /// The last lines of a file, of 64 KiB at most; none where it cannot be read.
  std::vector<std::string> last_lines(const std::string& name) const;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string checkpoints() const { return file("checkpoints"); }

 private:
  /// The newest step that events.jsonl says was saved since the run last began anew.
  std::optional<int64_t> newest_saved_event() const;
  std::string path_;
};

}  // namespace retain
