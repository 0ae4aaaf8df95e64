// Checksums of the files that decide what an export computes, so that damage is found before its weights are used.
#pragma once

#include <map>
#include <string>

#include "trainer/file.h"

namespace retain {

/// By name, XXH3-64 of the whole file, as `xxhsum -H3` has it, in sixteen hexadecimal digits.
using FileChecksums = std::map<std::string, std::string>;

/// Of config.json, the files of weights and their index. Throws Error(kIo).
FileChecksums checksums_of_export(const Path& folder);
/// Reads each of these files once. Throws Error(kData) naming the one that is another, Error(kMissingInput),
/// Error(kIo).
void verify_files(const Path& folder, const FileChecksums& want);

}  // namespace retain
