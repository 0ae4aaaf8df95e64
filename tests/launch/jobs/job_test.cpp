#include "launch/jobs/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "launch/jobs/process.h"
#include "launch/jobs/shell.h"
#include "tests/launch/config/support.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

constexpr std::array kSchedulers = {Scheduler::kSlurm, Scheduler::kPbs, Scheduler::kLsf, Scheduler::kFlux,
                                    Scheduler::kMpirun};

/// The job of the files under launch/templates/.
Job template_job(Scheduler scheduler) {
  Job job{.scheduler = scheduler,
          .name = "books",
          .run = "/shared/runs/books",
          .files = "/shared/runs/books/jobs/0001",
          .nodes = 2,
          .ranks_per_node = 8,
          .gpus = true,
          .limit_seconds = 86'400,
          .account = "lab",
          .partition = "gpu",
          .program = "/shared/retain/bin/retain"};
  if (scheduler == Scheduler::kSlurm) job.site = parse_site("site.yaml", read_source("launch/templates/site.yaml"));
  if (scheduler == Scheduler::kMpirun) {
    job.hosts = {"node1", "node2"};
    job.limit_seconds = 0;
  }
  return job;
}

/// What the shell says about the syntax.
int syntax_check(const std::string& text) {
  const TemporaryDirectory folder;
  const Path file = folder.path() / "job";
  write_new_file(file, text);
  std::string answer;
  return run_command({"bash", "-n", file.string()}, answer);
}

TEST(Job, TheTemplatesAreWhatIsWritten) {
  for (const Scheduler each : kSchedulers)
    expect_golden(job_text(template_job(each)), "launch/templates/job" + job_suffix(each));
}

TEST(Job, EveryTextIsBash) {
  for (const Scheduler each : kSchedulers) {
    EXPECT_EQ(syntax_check(job_text(template_job(each))), 0);
    Job odd = template_job(each);
    odd.name = "a \"b\" #c";
    odd.run = "/runs/it's 100% \"mine\" \\ $HOME; rm -rf /";
    odd.files = odd.run + "/jobs/0001";
    odd.program = "/opt/my tools/retain";
    odd.limit_seconds = 0;
    odd.gpus = false;
    odd.sets = {"parallel.dp=auto"};
    odd.site = {};
    odd.site.environment = {{"WORDS", "two 'words'"}};
    odd.site.modules = {"a module"};
    const std::string text = job_text(odd);
    EXPECT_EQ(syntax_check(text), 0) << text;
    EXPECT_THAT(text, HasSubstr("run='/runs/it'\\''s 100% \"mine\" \\ $HOME; rm -rf /'\n"));
    EXPECT_THAT(text, HasSubstr("'/opt/my tools/retain' train \"$job.yaml\" --set parallel.dp=auto"));
    EXPECT_THAT(text, HasSubstr("module load 'a module'\nexport WORDS='two '\\''words'\\'''\n"));
  }
}

TEST(Job, DirectivesAreQuotedAsSchedulersReadThem) {
  Job job = template_job(Scheduler::kSlurm);
  job.name = "a \"b\" #c";
  job.run = "/runs/100% mine";
  job.files = job.run + "/jobs/0001";
  const std::string text = job_text(job);
  EXPECT_THAT(text, HasSubstr("#SBATCH --job-name=\"a \\\"b\\\" #c\"\n"));
  EXPECT_THAT(text, HasSubstr("#SBATCH --output=\"/runs/100%% mine/jobs/0001-%j.out\"\n"));
}

TEST(Job, WordsComeBackFromAShellAsTheyWere) {
  for (const std::string word :
       {"plain", "", "two words", "it's", "$HOME `id` \\n \"x\" *", "-n", "=ls", "a\nb", "é 日本"}) {
    std::string answer;
    EXPECT_EQ(run_command({"printf", "%s", word}, answer), 0);
    EXPECT_EQ(answer, word);
  }
  EXPECT_EQ(quote_for_shell("/runs/demo"), "/runs/demo");
}

TEST(Job, TheNumberOfAJobIsReadFromEachAnswer) {
  EXPECT_EQ(job_id_of("42\n"), "42");
  EXPECT_EQ(job_id_of("42;cluster\n"), "42");
  EXPECT_EQ(job_id_of("42.server.example\n"), "42.server.example");
  EXPECT_EQ(job_id_of("Job <42> is submitted to queue <normal>.\n"), "42");
  EXPECT_EQ(job_id_of("ƒ2Ab\n"), "ƒ2Ab");
}

}  // namespace
}  // namespace retain::test
