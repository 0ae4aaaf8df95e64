#include "trainer/new_folder.h"

#include <system_error>

namespace retain {

namespace fs = std::filesystem;

NewFolder::NewFolder(const std::string& path) : path_(fs::absolute(path).lexically_normal()) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // a slash at the end
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kCannotCreate, concat(path_.string(), " ", what));
  };
  std::error_code error;
  const fs::file_status there = fs::symlink_status(path_, error);
  if (fs::exists(there)) {
    if (!fs::is_directory(there)) fail("is there and is no folder: name another one");
    if (!fs::is_empty(path_, error)) fail(error ? error.message() : "is not empty: name another folder, or remove it");
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
