#include "trainer/run/run_directory.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "trainer/file.h"

namespace retain {

namespace fs = std::filesystem;

void RunDirectory::create() const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error || !fs::is_directory(path_)) {
    throw Error(ErrorKind::kCannotCreate,
                fmt::format("cannot create the run directory {}: {}; choose another with --set run.dir=PATH", path_,
                            error ? error.message() : "there is a file of that name"));
  }
  for (const char* const folder : {"ranks", "tensorboard"}) {
    fs::create_directories(file(folder), error);
    if (error)
      throw Error(ErrorKind::kCannotCreate, fmt::format("cannot create {}: {}", file(folder), error.message()));
  }
  const std::string probe = file(".write-test");
  std::ofstream out(probe);
  out << "retain\n";
  out.close();
  if (!out)
    throw Error(ErrorKind::kCannotCreate,
                fmt::format("cannot write in the run directory {}: {}", path_, std::strerror(errno)));
  fs::remove(probe, error);
}

void RunDirectory::write(const std::string& name, const std::string& text) const { replace_file(file(name), text); }

bool RunDirectory::stop_file_exists() const {
  std::error_code error;
  return fs::exists(file("STOP"), error);
}

void RunDirectory::remove(const std::string& name) const {
  std::error_code error;
  fs::remove(file(name), error);
}

}  // namespace retain
