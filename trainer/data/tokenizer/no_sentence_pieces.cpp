// Linked instead of sentence_pieces.cpp when the build has no SentencePiece.
#include "kernels/core/error.h"
#include "trainer/data/tokenizer/sentence_pieces.h"

namespace retain {

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::kMissingInput, concat(what,
                                               ": this build of retain has no SentencePiece; install its library "
                                               "(Debian's libsentencepiece-dev) and build again"));
}

}  // namespace

bool have_sentence_pieces() { return false; }

std::unique_ptr<Tokenizer> load_sentence_pieces(const TokenizerFiles::File& model) { refuse(model.path); }

std::string train_sentence_pieces(const std::function<std::optional<std::string>()>&, int64_t) {
  refuse("the tokenizer cannot be trained");
}

}  // namespace retain
