#include "trainer/data/tokenizer/tokenizer.h"

#include <filesystem>
#include <memory>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/data/tokenizer/bpe_files.h"
#include "trainer/data/tokenizer/sentence_pieces.h"
#include "trainer/file.h"

namespace retain {
namespace {

namespace fs = std::filesystem;
using Kind = TokenizerFiles::Kind;

constexpr int64_t kLimitBytes = int64_t{1} << 28;

bool is_file(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_regular_file(path, unreadable);
}

Kind kind_of(const fs::path& file) {
  if (file.extension() == ".model") return Kind::kSentencePieces;
  const bool two = file.filename() == "vocab.json" || file.filename() == "merges.txt";
  return two ? Kind::kVocabularyAndMerges : Kind::kTokenizerJson;
}

/// The file that says what a folder holds.
fs::path file_in(const fs::path& path) {
  constexpr const char* kWanted =
      "tokenizer.json, vocab.json with merges.txt, or a .model of SentencePiece (or 'bytes', which needs no file)";
  if (is_file(path)) return path;
  std::error_code unreadable;
  if (!fs::is_directory(path, unreadable)) {
    throw Error(ErrorKind::kMissingInput,
                concat("tokenizer ", in_quotes(path.string()), ": there is no such file or folder; want ", kWanted));
  }
  for (const char* const name :
       {"tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    if (is_file(path / name)) return path / name;
  }
  throw Error(ErrorKind::kMissingInput,
              concat("tokenizer ", in_quotes(path.string()), ": the folder has no ", kWanted));
}

}  // namespace

TokenizerFiles read_tokenizer_files(const std::string& path) {
  const fs::path file = file_in(path), folder = file.parent_path();
  std::vector<fs::path> paths = {file};
  const Kind kind = kind_of(file);
  if (kind == Kind::kVocabularyAndMerges) paths = {folder / "vocab.json", folder / "merges.txt"};
  for (const fs::path& needed : paths) {
    if (!is_file(needed)) {
      throw Error(ErrorKind::kMissingInput,
                  concat(needed.string(), ": there is no such file beside ", file.filename().string()));
    }
  }
  const fs::path config = folder / "tokenizer_config.json";
  if (kind != Kind::kSentencePieces && is_file(config)) paths.push_back(config);
  TokenizerFiles read{.kind = kind, .files = {}};
  for (const fs::path& one : paths)
    read.files.push_back({one.string(), read_text(File::open_input(one.string()), kLimitBytes)});
  return read;
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerFiles& files) {
  const auto at = [&](size_t i) { return i < files.files.size() ? &files.files[i] : nullptr; };
  switch (files.kind) {
    case Kind::kSentencePieces: return load_sentence_pieces(*at(0));
    case Kind::kVocabularyAndMerges: return make_byte_level_bpe(read_vocabulary_and_merges(*at(0), *at(1), at(2)));
    case Kind::kTokenizerJson: break;
  }
  return make_byte_level_bpe(read_tokenizer_json(*at(0), at(1)));
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  return name == kByteTokenizer ? make_byte_tokenizer() : make_tokenizer(read_tokenizer_files(name));
}

}  // namespace retain
