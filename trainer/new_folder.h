// A folder that is filled under another name beside its own and then renamed: it is there whole or not at all.
#pragma once

#include <string>

#include "trainer/file.h"

namespace retain {

class NewFolder {
 public:
  /// Makes the temporary folder. Throws Error(kCannotCreate), also where `path` is something else than an empty folder
  /// or one where a file system is mounted, Error(kUsage) for no path at all.
  explicit NewFolder(const std::string& path);
  /// Removes what was not published.
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  /// Where its files are made, durably.
  const Path& temporary() const { return temporary_; }
  const Path& path() const { return path_; }
  /// Throws Error(kCannotCreate).
  void publish();

 private:
  Path path_, temporary_;
};

}  // namespace retain
