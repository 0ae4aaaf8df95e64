// What the environments of launchers say, as they were seen on processes that these had started.
#include "parallel/mpi/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace retain {
namespace {

using Variables = std::map<std::string, std::string>;

Variables operator+(Variables a, const Variables& b) {
  for (const auto& [name, value] : b) a[name] = value;  // the inner launcher's replace those around it
  return a;
}

Launch find(const Variables& variables, MpiFamily family = MpiFamily::kOpenMpi) {
  return find_launch(
      [&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      family);
}

const Variables kNothing;
const Variables kBatch = {{"SLURM_JOB_ID", "6"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}};

Variables step(const std::string& tasks, const std::string& rank) {
  return {{"SLURM_JOB_ID", "6"},
          {"SLURM_STEP_ID", "0"},
          {"SLURM_STEP_NUM_TASKS", tasks},
          {"SLURM_NTASKS", tasks},
          {"SLURM_PROCID", rank}};
}
Variables pmix(const std::string& space, const std::string& rank) {
  return {{"PMIX_NAMESPACE", space}, {"PMIX_RANK", rank}};
}
Variables pmi2(const std::string& ranks, const std::string& rank) {
  return {{"PMI_SIZE", ranks}, {"PMI_RANK", rank}, {"PMI_JOBID", "6.0"}};
}
Variables mpirun(const std::string& ranks, const std::string& rank) {
  return pmix("1966145537", rank) + Variables{{"OMPI_COMM_WORLD_SIZE", ranks}, {"OMPI_COMM_WORLD_RANK", rank}};
}
Variables hydra(const std::string& ranks, const std::string& rank) {
  return {{"PMI_SIZE", ranks}, {"PMI_RANK", rank}, {"MPI_LOCALNRANKS", ranks}, {"MPI_LOCALRANKID", rank}};
}
Variables torchrun(const std::string& ranks, const std::string& rank) {
  return {{"WORLD_SIZE", ranks}, {"RANK", rank}, {"TORCHELASTIC_RUN_ID", "none"}};
}

struct Case {
  std::string what;
  Variables variables;
  std::string launcher;  // the beginning of it
  int rank, ranks;
  bool in_mpi;
};

void expect(const std::vector<Case>& cases, MpiFamily family) {
  for (const Case& each : cases) {
    const Launch launch = find(each.variables, family);
    EXPECT_EQ(launch.launcher.substr(0, each.launcher.size()), each.launcher) << each.what;
    EXPECT_EQ(launch.launcher.empty(), each.launcher.empty()) << each.what;
    EXPECT_EQ(launch.rank, each.rank) << each.what;
    EXPECT_EQ(launch.ranks, each.ranks) << each.what;
    EXPECT_EQ(launch.in_mpi, each.in_mpi) << each.what;
  }
}

TEST(Launch, TheInnermostLauncherCounts) {
  const std::string slurm = "slurm.pmix.6.0";
  expect(
      {
          {"alone", kNothing, "", 0, 1, false},
          {"a batch shell", kBatch, "", 0, 1, false},
          {"mpirun", mpirun("4", "3"), "Open MPI", 3, 4, true},
          {"mpirun in a batch shell", kBatch + mpirun("8", "3"), "Open MPI", 3, 8, true},
          {"mpirun's ranks on a second node", step("1", "0") + mpirun("8", "7"), "Open MPI", 7, 8, true},
          {"mpirun in a step", step("1", "0") + pmix(slurm, "0") + mpirun("2", "1"), "Open MPI", 1, 2, true},
          {"mpirun of one rank in each task", step("4", "2") + pmix(slurm, "2") + mpirun("1", "0"), "Open MPI", 0, 1,
           true},
          {"srun with PMIx", step("4", "2") + pmix(slurm, "2"), "srun", 2, 4, true},
          {"srun with PMI-2", step("4", "2") + pmi2("4", "2"), "srun", 2, 4, false},
          {"srun without", step("4", "2"), "srun", 2, 4, false},
          {"srun of one task without", step("1", "0"), "srun", 0, 1, false},
          {"srun with PMIx in what mpirun started", mpirun("1", "0") + step("4", "2") + pmix(slurm, "2"), "srun", 2, 4,
           true},
          {"a job submitted in a step", step("2", "1") + pmix("slurm.pmix.5.0", "1") + kBatch, "", 0, 1, false},
          {"a job submitted in a step without PMIx", step("2", "1") + kBatch, "", 0, 1, false},
          {"a part of a heterogeneous step",
           step("4", "2") + pmix("slurm.pmix.5.0", "2") + Variables{{"SLURM_HET_SIZE", "2"}}, "srun", 2, 4, true},
          {"mpiexec of MPICH", hydra("4", "1"), "the mpiexec", 1, 4, false},
          {"mpiexec of MPICH in a step", step("1", "0") + pmix(slurm, "0") + hydra("4", "1"), "the mpiexec", 1, 4,
           false},
          {"torchrun", torchrun("8", "5"), "torchrun", 5, 8, false},
          {"torchrun under srun", step("2", "1") + pmix(slurm, "1") + torchrun("8", "5"), "torchrun", 5, 8, false},
          {"RANK and WORLD_SIZE alone", {{"RANK", "1"}, {"WORLD_SIZE", "2"}}, "whoever", 1, 2, false},
          {"WORLD_SIZE without RANK", {{"WORLD_SIZE", "2"}}, "", 0, 1, false},
          {"RANK and WORLD_SIZE set by a script under mpirun",
           mpirun("2", "1") + Variables{{"RANK", "1"}, {"WORLD_SIZE", "2"}}, "Open MPI", 1, 2, true},
          {"another PMI", {{"PMI_SIZE", "2"}, {"PMI_RANK", "1"}}, "a launcher of PMI", 1, 2, false},
          {"another PMIx", pmix("prte-7@1", "1"), "a launcher of PMIx", 1, 0, true},
          {"numbers that are none", {{"OMPI_COMM_WORLD_SIZE", "4x"}, {"OMPI_COMM_WORLD_RANK", ""}}, "", 0, 1, false},
      },
      MpiFamily::kOpenMpi);
}

TEST(Launch, AnMpichSeesWhatItsOwnLaunchersStart) {
  expect(
      {
          {"alone", kNothing, "", 0, 1, false},
          {"its mpiexec", hydra("4", "1"), "the mpiexec", 1, 4, true},
          {"srun with PMI-2", step("4", "2") + pmi2("4", "2"), "srun", 2, 4, true},
          {"srun without", step("4", "2"), "srun", 2, 4, false},
          {"mpirun of Open MPI", mpirun("4", "3"), "Open MPI", 3, 4, false},
      },
      MpiFamily::kMpich);
}

TEST(Launch, TheRefusalNamesLauncherNumberAndFlag) {
  EXPECT_FALSE(find(mpirun("4", "3")).split());
  EXPECT_FALSE(find(step("1", "0")).split());
  const Launch launch = find(step("512", "7") + pmi2("512", "7"));
  ASSERT_TRUE(launch.split());
  EXPECT_THAT(launch.describe_split(), ::testing::StartsWith("srun started 512 processes"));
  EXPECT_THAT(launch.describe_split(), ::testing::HasSubstr("srun --mpi=pmix"));
}

}  // namespace
}  // namespace retain
