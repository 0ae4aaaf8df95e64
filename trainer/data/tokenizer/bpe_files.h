// The files of a byte-level BPE tokenizer: GPT-2's vocab.json and merges.txt, or the tokenizer.json of the Hugging Face
// library where it says the same. What it cannot say exactly is refused by name.
#pragma once

#include "trainer/data/tokenizer/byte_level_bpe.h"

namespace retain {

/// `config`, a tokenizer_config.json, may be null. Throws Error(kData) with the file, what was found there, and what is
/// read.
ByteLevelBpe read_tokenizer_json(const TokenizerFiles::File& file, const TokenizerFiles::File* config);

/// Of GPT-2's two files; "<|endoftext|>", or the eos_token of the configuration, ends documents.
ByteLevelBpe read_vocabulary_and_merges(const TokenizerFiles::File& vocabulary, const TokenizerFiles::File& merges,
                                        const TokenizerFiles::File* config);

}  // namespace retain
