// Files that are read again and again, more of them than a process may have open: each is opened at need, and those
// that were not used for longest are closed. Any number of threads may ask.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "trainer/file.h"

namespace retain {

class OpenFiles {
 public:
  using Open = File (*)(const Path&);
  /// At most `most` files stay open when nobody reads them. `open_file` is one of File's.
  explicit OpenFiles(size_t most = default_most(), Open open_file = File::open_given);
  /// A part of what this process may open, so that there is room for several of these and for all else.
  static size_t default_most();

  /// The file, open for as long as the result lives. Throws as `open_file` does, and Error(kData) when it is
  /// another file than at the first time, or was written since.
  std::shared_ptr<const File> open(const std::string& path);
  /// After a file was read: whether what was read is what was there when it was first opened. One that was deleted or
  /// replaced while it is open is the same still; one that was written is not.
  bool is_unchanged(const std::string& path);

 private:
  struct Identity {
    uint64_t inode = 0;
    int64_t bytes = 0, seconds = 0, nanoseconds = 0;  ///< its size, and when it was last written
    bool operator==(const Identity&) const = default;
  };
  struct Entry {
    Identity identity;
    std::shared_ptr<const File> file;  ///< null while it is closed
    uint64_t last_use = 0;
  };
  static Identity identity_of(const File& file);
  void close_longest_unused();

  const size_t most_;
  const Open open_file_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;  ///< guarded by mutex_, as are the next two
  size_t open_ = 0;
  uint64_t uses_ = 0;
};

}  // namespace retain
