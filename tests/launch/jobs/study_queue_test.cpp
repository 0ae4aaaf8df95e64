// The queue with a program that is a script of bash in the place of retain.
#include "launch/jobs/study_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/jobs/study_array.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using study::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Runs a, b (which starts from a's step 5), c; and a program that says who it is.
struct BashStudy {
  explicit BashStudy(const std::string& script) : program((folder.path() / "program").string()) {
    std::ofstream(program) << "#!/bin/bash\nconfig=$2; dir=$(dirname \"$2\"); name=$(basename \"$dir\")\n"
                              "echo \"$name $4 $OMP_NUM_THREADS\" >>\"$dir/../../calls\"\n"
                           << script;
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    plan.dir = folder.path().string();
    plan.on_gpu = false;
    for (const auto& [name, parent] :
         std::vector<std::pair<std::string, std::string>>{{"a", ""}, {"b", "a"}, {"c", ""}}) {
      plan.runs.push_back({.name = name, .size = "s", .parent = parent});
      plan.runs.back().steps = 9;
      plan.runs.back().first_step = parent.empty() ? 0 : 5;
      std::filesystem::create_directories(plan.run_directory(name));
    }
  }
  int run(int max_jobs = 1, const std::vector<std::string>& only = {}) const {
    return run_study_queue(plan, {.program = program, .max_jobs = max_jobs, .only = only});
  }
  std::string calls() const { return read_text(File::open(folder.path() / "calls"), 10'000); }
  study::RunState state(const std::string& name) const {
    const study::Progress progress = study::read_progress(plan.run_directory(name));
    return study::judge(progress, progress.first_loss);
  }
  TemporaryDirectory folder;
  std::string program;
  study::Plan plan;
};

/// A run that ends well, with a loss.
const std::string kDone =
    R"(echo '{"step":1,"loss":5,"step_seconds":1,"start":1}' >"$dir/metrics.jsonl"; touch "$dir/DONE")";

TEST(StudyQueueProcesses, EachRunIsStartedOnceInItsOrder) {
  const BashStudy s(kDone);
  EXPECT_EQ(s.run(), 0);
  const std::string from = s.plan.run_directory("a") + "/checkpoints/step-00000005";
  std::istringstream calls(s.calls());
  std::vector<std::string> names, origins;
  for (std::string name, origin, threads; calls >> name;) {
    names.push_back(name);
    std::string rest;
    std::getline(calls, rest);
    origins.push_back(rest);
  }
  EXPECT_THAT(names, ElementsAre("a", "b", "c"));
  EXPECT_THAT(origins[1], HasSubstr(from));
  EXPECT_EQ(s.run(), 0);  // all is done: nothing is started
  EXPECT_EQ(s.calls().find("a "), s.calls().rfind("a "));
}

TEST(StudyQueueProcesses, AFailureIsRecordedWithItsReasonAndTriedAgain) {
  const BashStudy s(
      "if [ $name = a ] && [ ! -e \"$dir/tried\" ]; then touch \"$dir/tried\"; echo 'retain: no such disk' >&2; "
      "exit 74; fi; " +
      kDone);
  EXPECT_EQ(s.run(), 74);
  EXPECT_EQ(s.state("a").state, State::kFailed);
  EXPECT_EQ(s.state("a").reason, "exit 74: retain: no such disk");
  EXPECT_EQ(s.state("b").state, State::kPlanned);  // it waits for a
  EXPECT_EQ(s.state("c").state, State::kDone);     // the others go on
  EXPECT_EQ(s.run(), 0);
  EXPECT_EQ(s.state("b").state, State::kDone);
}

TEST(StudyQueueProcesses, ADivergedRunIsAResultAndNotTriedAgain) {
  const BashStudy s("[ $name = a ] && { echo diverged >&2; exit 76; }; " + kDone);
  EXPECT_EQ(s.run(2), 0);
  EXPECT_EQ(s.state("a").state, State::kDiverged);
  EXPECT_EQ(s.state("c").state, State::kDone);
  EXPECT_EQ(s.run(2), 0);
  EXPECT_EQ(s.calls().find("a "), s.calls().rfind("a "));
  EXPECT_EQ(s.calls().find("b "), std::string::npos);
}

TEST(StudyQueueProcesses, ARunThatIsToldToEndMakesTheQueueEndWith75) {
  const BashStudy s("[ $name = c ] && exit 75; " + kDone);
  EXPECT_EQ(s.run(), 75);
  EXPECT_EQ(s.state("c").state, State::kPlanned);
}

TEST(StudyQueueProcesses, OnlyWhatWasAskedForRuns) {
  const BashStudy s(kDone);
  EXPECT_EQ(s.run(1, {"c"}), 0);
  EXPECT_THAT(s.calls(), ::testing::StartsWith("c "));
  EXPECT_EQ(s.calls().find("a "), std::string::npos);
}

TEST(StudyEnvironment, GpusAreDealtInTurnsAndCpusInParts) {
  using Variables = std::map<std::string, std::string>;
  const auto gpu = [](int slot, int ranks, int gpus, const std::string& visible) {
    return study_environment(slot, 8, ranks, gpus, visible, 16).at("CUDA_VISIBLE_DEVICES");
  };
  EXPECT_EQ(gpu(0, 1, 4, ""), "0");
  EXPECT_EQ(gpu(5, 1, 4, ""), "1");
  EXPECT_EQ(gpu(1, 2, 4, ""), "2,3");
  EXPECT_EQ(gpu(1, 1, 2, "5,GPU-ab"), "GPU-ab");  // of those that the queue itself may use
  EXPECT_EQ(study_environment(0, 4, 1, 0, "", 16), (Variables{{"OMP_NUM_THREADS", "4"}}));
  EXPECT_EQ(study_environment(0, 4, 1, 0, "", 2), (Variables{{"OMP_NUM_THREADS", "1"}}));
}

TEST(StudyArray, ATaskIsAChain) {
  const BashStudy s("");
  study::Plan plan = s.plan;
  plan.dir = "/studies/my study";
  plan.on_gpu = true;
  const std::string text = study_array_text(plan, study::chains_of(plan),
                                            {.name = "demo",
                                             .files = "/studies/my study/jobs/0001",
                                             .program = "/opt/retain",
                                             .max_jobs = 3,
                                             .limit_seconds = 5400,
                                             .partition = "gpu"});
  EXPECT_THAT(text, HasSubstr("#SBATCH --array=0-1%3\n"));
  EXPECT_THAT(text, HasSubstr("#SBATCH --gpus-per-node=1\n#SBATCH --time=90\n#SBATCH --partition=gpu\n"));
  EXPECT_THAT(text, HasSubstr("  '--only a --only b'\n  '--only c'\n"));
  EXPECT_THAT(
      text,
      HasSubstr("/opt/retain study run '/studies/my study' --shared --max-jobs 1 ${chains[SLURM_ARRAY_TASK_ID]}"));
  std::ofstream(s.folder.path() / "job") << text;
  EXPECT_EQ(std::system(("bash -n " + (s.folder.path() / "job").string()).c_str()), 0);
}

}  // namespace
}  // namespace retain::test
