// RUN/tokenizer: the files of a run's tokenizer, under names that tools know, so that whoever has the run needs no
// others. A run on bytes has none.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/run/run_directory.h"

namespace retain {

/// Copies the files of data.tokenizer there, unless they are there. `fingerprint` is what the run began with: throws
/// Error(kData) where they are others by now, Error(kMissingInput), Error(kIo).
void keep_tokenizer(const RunDirectory& run, const std::string& data_tokenizer, const std::string& fingerprint);

/// RUN/tokenizer
std::filesystem::path kept_tokenizer_folder(const std::filesystem::path& run);

/// The files of a tokenizer (kByteTokenizer has none) into a folder, durably, under the names by which they are found
/// there. Throws Error(kMissingInput), Error(kIo).
void copy_tokenizer(const std::string& tokenizer, const std::filesystem::path& folder);

/// Where the tokenizer of a checkpoint is: its run's, or, where a checkpoint was taken out of its run, data.tokenizer.
std::string tokenizer_path(const std::filesystem::path& step, const std::string& data_tokenizer);

/// The tokenizer of a checkpoint, `step` being its folder, which lies at tokenizer_path(). `fingerprint`: what the
/// checkpoint keeps of it. Throws Error(kMissingInput) where neither is there, and Error(kData) where it is another
/// one.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& step, const std::string& data_tokenizer,
                                          const std::string& fingerprint);

}  // namespace retain
