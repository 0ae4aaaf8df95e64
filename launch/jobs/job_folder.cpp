#include "launch/jobs/job_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>

#include "kernels/core/error.h"
#include "parallel/agreement.h"
#include "trainer/file.h"

namespace retain {

namespace fs = std::filesystem;

namespace {

/// 3 of "0003.sbatch"; 0 of other names.
int number_of(const std::string& name) {
  const size_t digits = name.find_first_not_of("0123456789");
  return digits == 4 ? std::stoi(name.substr(0, digits)) : 0;
}

}  // namespace

JobFolder::JobFolder(const std::string& run) : path_(run + "/jobs") {}

std::string JobFolder::next() const {
  int last = 0;
  std::error_code error;  // of a folder that is not there
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error))
    last = std::max(last, number_of(entry.path().filename().string()));
  return fmt::format("{}/{:04d}", path_, last + 1);
}

std::string JobFolder::keep(const Job& job, const std::string& resolved) const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat("cannot create ", path_, ": ", error.message()));
  const std::string file = job.files + job_suffix(job.scheduler);
  const Outcome written = attempt([&] {
    write_new_file(file, job_text(job));
    replace_file(job.files + ".yaml", resolved);
    fs::permissions(file, fs::perms::owner_exec, fs::perm_options::add);
  });
  if (!written.ok) throw Error(ErrorKind::kCannotCreate, concat("cannot write the job: ", written.message));
  return file;
}

}  // namespace retain
