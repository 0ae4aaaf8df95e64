#include "trainer/new_folder.h"

#include <sys/stat.h>

#include <system_error>

namespace retain {

namespace fs = std::filesystem;

namespace {

Path whole_path(const std::string& path) {
  if (path.empty()) throw Error(ErrorKind::kUsage, "a new folder needs a name, this one is empty");
  return fs::absolute(path).lexically_normal();
}

/// Whether something is mounted there: no rename replaces it.
bool is_mount_point(const Path& folder) {
  struct stat here = {}, above = {};
  return ::stat(folder.c_str(), &here) == 0 && ::stat(folder.parent_path().c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

}  // namespace

NewFolder::NewFolder(const std::string& path) : path_(whole_path(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // a slash at the end
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kCannotCreate, concat(path_.string(), " ", what));
  };
  std::error_code error;
  const fs::file_status there = fs::symlink_status(path_, error);
  if (fs::exists(there)) {
    if (!fs::is_directory(there)) fail("is there and is no folder: name another one");
    if (!fs::is_empty(path_, error)) fail(error ? error.message() : "is not empty: name another folder, or remove it");
    if (is_mount_point(path_)) fail("is where a file system is mounted, which cannot be replaced: name a folder in it");
  }
  fs::create_directories(path_.parent_path(), error);
  temporary_ = path_;
  temporary_.replace_filename(concat(".", path_.filename().string(), ".", make_nonce()));
  if (!error) fs::create_directory(temporary_, error);
  if (error) fail(concat("cannot be made: ", error.message()));
}

NewFolder::~NewFolder() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

void NewFolder::publish() {
  sync_directory(temporary_);
  rename_durably(temporary_, path_, ErrorKind::kCannotCreate);
  temporary_.clear();
}

}  // namespace retain
