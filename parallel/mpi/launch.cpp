#include "parallel/mpi/launch.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "kernels/core/error.h"
#include "parallel/mpi/mpi_check.h"

namespace retain {

namespace {

/// What the launchers leave in the environment.
class Traces {
 public:
  Traces(const Environment& environment, MpiFamily family) : environment_(environment), family_(family) {}

  std::string_view text(const char* name) const {
    const char* const value = environment_(name);
    return value ? value : std::string_view{};
  }
  std::optional<int> number(const char* name) const {
    const std::string_view digits = text(name);
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  }
  /// The launch of a launcher that says both.
  std::optional<Launch> launch(const char* launcher, const char* rank_name, const char* ranks_name, bool in_mpi) const {
    const std::optional<int> rank = number(rank_name), ranks = number(ranks_name);
    if (!rank || !ranks) return std::nullopt;
    return Launch{.launcher = launcher, .rank = *rank, .ranks = *ranks, .in_mpi = in_mpi, .remedy = remedy()};
  }

  bool open_mpi() const { return family_ == MpiFamily::kOpenMpi; }
  bool pmix() const { return number("PMIX_RANK") && !text("PMIX_NAMESPACE").empty(); }
  bool pmi() const { return number("PMI_RANK") && number("PMI_SIZE"); }
  /// "slurm.pmix.JOB.STEP" in a step of Slurm; a number where mpirun serves.
  bool pmix_of_slurm() const { return text("PMIX_NAMESPACE").starts_with("slurm."); }
  /// Are Slurm's variables of a step those of one in which somebody submitted this job? A step has as many tasks as its
  /// srun was asked for, and its PMIx is of its job; parts of a heterogeneous job are not held to either.
  bool step_is_stale() const {
    if (!text("SLURM_HET_SIZE").empty()) return false;
    const std::string job = concat("slurm.pmix.", text("SLURM_JOB_ID"), ".");
    return number("SLURM_NTASKS").value_or(*number("SLURM_STEP_NUM_TASKS")) != *number("SLURM_STEP_NUM_TASKS") ||
           (pmix_of_slurm() && !text("PMIX_NAMESPACE").starts_with(job));
  }

 private:
  std::string remedy() const {
    return open_mpi() ? "start them with srun --mpi=pmix ('srun --mpi=list' says whether this Slurm has it) or with "
                        "Open MPI's mpirun (launch/mpirun.sh)"
                      : "start them with srun --mpi=pmi2 or with the mpiexec of the MPICH that it is built with";
  }

  const Environment& environment_;
  MpiFamily family_;
};

std::optional<Launch> torchrun(const Traces& traces) {
  if (traces.text("TORCHELASTIC_RUN_ID").empty()) return std::nullopt;
  return traces.launch("torchrun", "RANK", "WORLD_SIZE", false);
}

/// MPICH's and Intel MPI's mpiexec.
std::optional<Launch> hydra(const Traces& traces) {
  if (!traces.number("MPI_LOCALNRANKS")) return std::nullopt;
  return traces.launch("the mpiexec of MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE", !traces.open_mpi());
}

std::optional<Launch> mpirun(const Traces& traces) {
  if (traces.pmix_of_slurm()) return std::nullopt;
  return traces.launch("Open MPI's mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                       traces.open_mpi() && traces.pmix());
}

std::optional<Launch> srun(const Traces& traces) {
  if (traces.text("SLURM_STEP_ID").empty() || !traces.number("SLURM_STEP_NUM_TASKS")) return std::nullopt;
  if (traces.step_is_stale()) return Launch{};
  return traces.launch("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS",
                       traces.open_mpi() ? traces.pmix() : traces.pmi() || traces.pmix());
}

std::optional<Launch> other_pmi(const Traces& traces) {
  return traces.launch("a launcher of PMI", "PMI_RANK", "PMI_SIZE", traces.open_mpi() ? traces.pmix() : true);
}

std::optional<Launch> other_pmix(const Traces& traces) {
  if (!traces.pmix()) return std::nullopt;
  return Launch{.launcher = "a launcher of PMIx", .rank = *traces.number("PMIX_RANK"), .ranks = 0, .in_mpi = true};
}

/// A script in torchrun's manner.
std::optional<Launch> torch_variables(const Traces& traces) {
  return traces.launch("whoever set RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", false);
}

}  // namespace

MpiFamily mpi_family() {
#ifdef OPEN_MPI
  return MpiFamily::kOpenMpi;
#else
  return MpiFamily::kMpich;
#endif
}

std::string Launch::describe_split() const {
  return concat(launcher, " started ", ranks,
                " processes, but to the MPI that this program is built with each of them ",
                "is alone, and would run a copy of its own: ", remedy,
                ". What is meant to be one process is started outside of ", launcher);
}

Launch find_launch(const Environment& environment, MpiFamily family) {
  const Traces traces(environment, family);
  for (const auto inner : {torchrun, hydra, mpirun, srun, other_pmi, other_pmix, torch_variables}) {
    if (const std::optional<Launch> launch = inner(traces)) return *launch;
  }
  return {};
}

}  // namespace retain
