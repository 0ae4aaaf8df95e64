// Who started this process and how many beside it, as a pure function of its environment: what a start must know before
// MPI is there, since MPI where it is not wired up makes each of N processes the only rank of a run of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace retain {

enum class MpiFamily : uint8_t { kOpenMpi, kMpich };
/// Of the library that this program is built with.
MpiFamily mpi_family();

struct Launch {
  std::string launcher = {};  ///< "srun"; empty for a process that was started alone
  int rank = 0;
  int ranks = 1;        ///< 0 where the launcher does not say
  bool in_mpi = false;  ///< MPI will see them as its ranks
  std::string remedy = {};

  /// They would be copies of one run that know nothing of each other.
  bool split() const { return ranks > 1 && !in_mpi; }
  /// "srun started 4 processes, and MPI …": what the refusal of a split launch says.
  std::string describe_split() const;
};

/// The value of a variable, or null: std::getenv.
using Environment = std::function<const char*(const char* name)>;

/// The innermost launcher that the environment names: variables of those around it are inherited (mpirun inside a job
/// or a step of Slurm, torchrun under srun), and so are those of a step from which this job was submitted.
Launch find_launch(const Environment& environment, MpiFamily family);

}  // namespace retain
