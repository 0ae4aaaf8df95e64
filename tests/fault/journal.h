// What the shim writes down: every call that changes files below the watched directory, in the order in which they took
// effect on all ranks. From it the simulator builds what a disk holds after a crash at any of them.
#pragma once

#include <cstdint>
#include <string>

namespace retain::fault {

enum class Call : uint32_t {
  kCreate,  ///< path
  kMakeDirectory,
  kWrite,     ///< path, offset, data
  kAllocate,  ///< path, size: grows the file
  kTruncate,  ///< path, size
  kSync,      ///< path: a file or a directory
  kRename,    ///< path -> path2
  kExchange,  ///< path <-> path2
  kLink,      ///< path2 becomes another name of path
  kUnlink,
  kRemoveDirectory,
};

/// On disk: this header, path, path2, data.
struct RecordHeader {
  Call call = Call::kCreate;
  uint32_t rank = 0;
  int64_t offset = 0;  ///< or size
  uint32_t path_bytes = 0, path2_bytes = 0;
  int64_t data_bytes = 0;
};

struct Record {
  RecordHeader header;
  std::string path, path2, data;
};

}  // namespace retain::fault
