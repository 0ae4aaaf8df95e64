#include "trainer/run/kept_tokenizer.h"

#include <system_error>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "parallel/agreement.h"
#include "trainer/file.h"

namespace retain {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "tokenizer";

bool is_there(const fs::path& folder) {
  std::error_code unreadable;
  return fs::is_directory(folder, unreadable);
}

/// Whether the folder has that tokenizer. What it has that is none is no obstacle to another copy.
bool holds(const fs::path& folder, const std::string& fingerprint) {
  bool same = false;
  return is_there(folder) &&
         attempt([&] { same = make_tokenizer(folder.string())->fingerprint() == fingerprint; }).ok && same;
}

/// The name by which read_tokenizer_files() finds a file in a folder.
std::string name_of(const TokenizerFiles& files, size_t i) {
  const std::string own = fs::path(files.files[i].path).filename().string();
  if (i > 0) return own;
  switch (files.kind) {
    case TokenizerFiles::Kind::kSentencePieces: return "tokenizer.model";
    case TokenizerFiles::Kind::kTokenizerJson: return "tokenizer.json";
    case TokenizerFiles::Kind::kVocabularyAndMerges: break;
  }
  return own;
}

void write_files(const TokenizerFiles& files, const fs::path& folder) {
  for (size_t i = 0; i < files.files.size(); ++i) replace_file(folder / name_of(files, i), files.files[i].contents);
}

}  // namespace

fs::path kept_tokenizer_folder(const fs::path& run) { return run / kFolder; }

void copy_tokenizer(const std::string& tokenizer, const fs::path& folder) {
  if (tokenizer != kByteTokenizer) write_files(read_tokenizer_files(tokenizer), folder);
}

std::string tokenizer_path(const fs::path& step, const std::string& data_tokenizer) {
  if (data_tokenizer == kByteTokenizer) return data_tokenizer;
  const fs::path kept = kept_tokenizer_folder(fs::absolute(step).lexically_normal().parent_path().parent_path());
  return is_there(kept) ? kept.string() : data_tokenizer;
}

void keep_tokenizer(const RunDirectory& run, const std::string& data_tokenizer, const std::string& fingerprint) {
  const fs::path folder = run.file(kFolder);
  std::error_code error;
  if (data_tokenizer == kByteTokenizer) {
    fs::remove_all(folder, error);  // of what the run had before
    return;
  }
  if (holds(folder, fingerprint)) return;
  const TokenizerFiles files = read_tokenizer_files(data_tokenizer);
  if (make_tokenizer(files)->fingerprint() != fingerprint)
    throw Error(ErrorKind::kData, concat("tokenizer ", in_quotes(data_tokenizer), " was changed since the run began"));
  const fs::path made = folder.string() + ".new";
  fs::remove_all(made, error);
  fs::create_directories(made, error);
  if (error) throw Error(ErrorKind::kIo, concat("cannot create ", made.string(), ": ", error.message()));
  write_files(files, made);
  fs::remove_all(folder, error);
  rename_durably(made, folder);
}

std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& step, const std::string& data_tokenizer,
                                          const std::string& fingerprint) {
  if (data_tokenizer == kByteTokenizer) return make_byte_tokenizer();
  const fs::path kept = kept_tokenizer_folder(fs::absolute(step).lexically_normal().parent_path().parent_path());
  const std::string path = tokenizer_path(step, data_tokenizer);
  std::unique_ptr<Tokenizer> tokenizer;
  const Outcome made = attempt([&] { tokenizer = make_tokenizer(path); });
  if (made.kind == ErrorKind::kMissingInput && !made.ok && !is_there(kept)) {
    throw Error(made.kind, concat(made.message, "; the run that trained ", step.string(), " has its tokenizer in ",
                                  kept.string(), ", which is not there"));
  }
  made.throw_if_failed();
  if (tokenizer->fingerprint() != fingerprint) {
    throw Error(ErrorKind::kData, concat(path, ": its fingerprint is ", tokenizer->fingerprint(), ", but ",
                                         step.string(), " was trained with ", fingerprint,
                                         ": the run went on with another tokenizer; put the earlier one there"));
  }
  return tokenizer;
}

}  // namespace retain
