#include "launch/verbs/write_figures.h"

#include <fmt/core.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "kernels/core/error.h"
#include "launch/jobs/process.h"

namespace retain {
namespace {

void make_folder(const Path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw_errno(ErrorKind::kCannotCreate, "mkdir", folder, error.value());
}

/// Whether gnuplot drew every figure in the folder.
bool draw(const std::vector<Figure>& figures, const Path& folder) {
  constexpr int kNotFound = 127;
  for (const Figure& figure : figures) {
    std::string said;
    const int code = run_command(
        {"sh", "-c", "cd \"$0\" && exec gnuplot \"$1\" 2>&1", folder.string(), figure.name + ".gnuplot"}, said);
    if (code == kNotFound) {
      fmt::print(stderr,
                 "retain: no gnuplot here: {} holds the data and the scripts; 'apt install gnuplot-nox' and run "
                 "the command again\n",
                 folder.string());
      return false;
    }
    if (code != 0)
      throw Error(ErrorKind::kIo,
                  fmt::format("gnuplot {}/{}.gnuplot ended with {}: {}", folder.string(), figure.name, code, said));
  }
  return true;
}

}  // namespace

void write_figures(const std::vector<Figure>& figures, const Path& folder) {
  make_folder(folder);
  for (const Figure& figure : figures) {
    replace_file(folder / (figure.name + ".gnuplot"), figure.script);
    for (const auto& [name, text] : figure.data) replace_file(folder / name, text);
  }
  const bool drawn = draw(figures, folder);
  for (const Figure& figure : figures)
    fmt::print("{}\n", (folder / (figure.name + (drawn ? ".svg" : ".gnuplot"))).string());
}

}  // namespace retain
