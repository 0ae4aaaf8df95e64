#include "launch/jobs/study_array.h"

#include "kernels/core/error.h"
#include "launch/jobs/shell.h"

namespace retain {
namespace {

constexpr int kNoticeSeconds = 180;

constexpr const char* kRun = R"BASH(
start &
runner=$!
trap 'kill -USR1 "$runner"' USR1 TERM
while kill -0 "$runner" 2>/dev/null; do wait "$runner"; done
wait "$runner"
code=$?
# 75: its runs were saved when they were told to end, and go on in the next life of this task.
[ "$code" != 75 ] || scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
exit "$code"
)BASH";

std::string directives(const study::Plan& plan, size_t tasks, const StudyArray& array) {
  std::string text;
  const auto add = [&](const std::string& directive) { text += "#SBATCH " + directive + "\n"; };
  add("--job-name=" + array.name);
  add(concat("--array=0-", tasks - 1, array.max_jobs > 0 ? concat("%", array.max_jobs) : ""));
  add("--nodes=1");
  add(concat("--ntasks=", plan.ranks));
  if (plan.on_gpu) add(concat("--gpus-per-node=", plan.ranks));
  if (array.limit_seconds > 0) add(concat("--time=", (array.limit_seconds + 59) / 60));
  if (!array.account.empty()) add("--account=" + array.account);
  if (!array.partition.empty()) add("--partition=" + array.partition);
  add("--requeue");
  add("--open-mode=append");
  add(concat("--signal=B:USR1@", kNoticeSeconds));
  add("--output=" + array.files + "-%A_%a.out");
  for (const std::string& each : array.site.directives) add(each);
  return text;
}

}  // namespace

std::string study_array_text(const study::Plan& plan, const std::vector<std::vector<std::string>>& chains,
                             const StudyArray& array) {
  RETAIN_CHECK(!chains.empty(), "an array without tasks");
  std::string text = "#!/bin/bash\n" + directives(plan, chains.size(), array);
  text += "# Written by `retain study run`: a task a chain of runs, of which each needs what the one before it left.\n";
  text += "chains=(\n";
  for (const std::vector<std::string>& chain : chains) {
    std::string only;
    for (const std::string& name : chain) only += (only.empty() ? "--only " : " --only ") + name;
    text += "  " + quote_for_shell(only) + "\n";
  }
  text += ")\n" + preparations(array.site);
  const std::string program = quote_for_shell(array.site.program.empty() ? array.program : array.site.program);
  text += "start() {\n  # shellcheck disable=SC2086\n  exec " +
          (array.site.container.empty() ? "" : array.site.container + " ") + program + " study run " +
          quote_for_shell(plan.dir) + " --shared --max-jobs 1 ${chains[SLURM_ARRAY_TASK_ID]}\n}\n";
  return text + kRun;
}

}  // namespace retain
