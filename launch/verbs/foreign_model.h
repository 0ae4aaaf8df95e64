// A folder of weights that another library reads, and Retain too: what it says of the run that they are from, and a
// configuration of ours for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trainer/config.h"
#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/file.h"
#include "trainer/interop/file_checksums.h"
#include "trainer/interop/model_import.h"

namespace retain {

/// retain.json of an export: where its weights are from. No other library reads it.
struct ModelOrigin {
  std::string run;  ///< the name of the run's folder
  int64_t step = 0, tokens = 0;
  std::string digest;     ///< ExportedWeights::digest
  std::string tokenizer;  ///< "bytes", or the fingerprint of the tokenizer whose files are there; "": not known
  FileChecksums files;    ///< none in what older releases wrote
};

void write_origin(const ModelOrigin& origin, const Path& folder);
/// Of a folder that Retain did not write nothing is known. Throws Error(kData) for what is no such file.
ModelOrigin read_origin(const std::string& folder);

/// A folder of weights with all that is needed to use it.
struct ForeignModel {
  ImportedModel weights;
  ModelOrigin origin;
  Config config;  ///< model, and of data seq_len, end_of_document and tokenizer; the rest is at its defaults
  std::unique_ptr<Tokenizer> tokenizer;
};

/// `tokenizer`: "bytes", or the path of one; "": the one whose files are in the folder, or bytes where the origin says
/// so. What an export says of its files and its tokenizer is checked. Throws Error(kMissingInput) where there is none,
/// Error(kData) for one with more tokens than the model and for what is not as it was exported, and as
/// read_model_folder() does.
ForeignModel open_foreign_model(const std::string& folder, const std::string& tokenizer = "");

}  // namespace retain
