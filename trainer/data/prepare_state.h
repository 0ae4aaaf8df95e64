// How far a preparation of tokens is, in a folder beside the set, so that one that was interrupted goes on and comes to
// the same bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/input_files.h"
#include "trainer/data/token_writer.h"
#include "trainer/file.h"

namespace retain {

/// A place in the inputs: so many are done, and so many pieces of the next one.
struct InputPlace {
  int64_t inputs = 0, pieces = 0;
  uint64_t text_hash = 0;  ///< of these pieces
};

/// What of the inputs has become tokens.
struct PrepareState {
  InputPlace place;
  TokensKept tokens;
  int64_t text_bytes = 0;
  int64_t document_bytes = 0;  ///< of the document that is not ended
  LeftOut empty_documents, bad_lines;
};

/// PREFIX.part: who works on it has it alone. It goes with this object where nothing was kept in it, and where
/// remove() was called.
class PrepareFolder {
 public:
  /// Makes it. `rules`: a hash of what decides which tokens a text becomes. Throws Error(kCannotCreate), also when
  /// another process is at work in it.
  PrepareFolder(const std::string& prefix, uint64_t rules);
  ~PrepareFolder();
  PrepareFolder(const PrepareFolder&) = delete;
  PrepareFolder& operator=(const PrepareFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  /// What was kept by an earlier attempt with the same rules and the same inputs as far as it has come; nothing where
  /// there was none. `say` is told why another one is of no use.
  std::optional<PrepareState> read(std::span<const InputFile> inputs,
                                   const std::function<void(const std::string&)>& say);
  /// Durably, after the tokens that it speaks of.
  void keep(const PrepareState& state, std::span<const InputFile> inputs);
  /// What was kept is of no use.
  void forget();
  void remove();

 private:
  std::optional<PrepareState> read_kept(std::span<const InputFile> inputs, std::string& why_not);
  std::string path_;
  uint64_t rules_;
  File lock_;
  bool kept_ = false;
};

}  // namespace retain
