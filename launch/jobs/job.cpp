#include "launch/jobs/job.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "launch/jobs/schedulers.h"
#include "launch/jobs/shell.h"

namespace retain {
namespace {

// A wait that a trap interrupts returns above 128 though the ranks go on; bash still knows their code when it is asked
// again.
constexpr const char* kWait = R"BASH(start &
ranks=$!
while kill -0 "$ranks" 2>/dev/null; do wait "$ranks"; done
wait "$ranks"
code=$?
)BASH";

constexpr const char* kStop =
    R"BASH(# The first wish to end lets the run save and end with 75; a second one ends it now, a third one mpirun too.
asked=0
stop() {
  asked=$((asked + 1))
  case $asked in
    1) ask ;;
    2) kill -TERM "$ranks" 2>/dev/null ;;
    *) kill -KILL "$ranks" 2>/dev/null ;;
  esac
}
trap stop TERM INT HUP
trap ask USR1
trap 'kill -USR2 "$(a_rank)" 2>/dev/null' USR2
)BASH";

constexpr const char* kRemember = R"BASH(newest() { cat "$run/checkpoints/latest" 2>/dev/null; }
events() { cat "$run/events.jsonl" 2>/dev/null; }
say() { echo "$(date -u +%FT%TZ) exit $code: $1" | tee -a "$job.lives"; }
before=$(newest) known=$(events | wc -l) asked=
trap 'asked=USR1; ask' USR1
trap 'asked=TERM; ask' TERM
)BASH";

constexpr const char* kDecide = R"BASH(
# Where one rank fails, the launcher kills the others and may pass on their death: the run has written down the cause.
end=$(events | tail -n "+$((known + 1))" | grep -E '"event":"(error|stop)"' | tail -n 1)
cause=$(sed -n 's/.*"event":"error".*"code":"*\([0-9]*\).*/\1/p' <<<"$end")
[ "$code" -le 128 ] || code=${cause:-$code}
# Ranks that are asked before they can listen die of the signal.
[[ -z $asked || $code != 138 && $code != 143 ]] || code=75

# The scheduler does nothing by itself about an exit code: what is to go on must say so here.
failures=$(grep -c failed "$job.lives" 2>/dev/null)
case $code in
  0) say "done" ;;
  75)
    if [[ $end == *'"event":"stop"'*/STOP* ]]; then
      say "saved, as the file STOP asked: not started again"
    else
      say "saved when it was told to end: goes on"
      again
    fi
    ;;
  [1-9] | [1-5]? | 6[0-3] | 70 | 12[89] | 1[3-9]? | 2??) # below 64: the launcher's own
    if [ "$(newest)" = "$before" ]; then
      say "failed before it had saved anything: not started again"
    elif [ "${failures:-0}" -ge "$restarts" ]; then
      say "failed after $(newest), and $failures times before: not started again"
    else
      say "failed after $(newest): goes on from there"
      again
    fi
    ;;
  *) say "would end so again: not started again" ;;
esac
exit "$code"
)BASH";

}  // namespace

std::string job_text(const Job& job) {
  RETAIN_CHECK(job.files.starts_with(job.run + "/"), "run=", job.run, " files=", job.files);
  const jobs::Dialect dialect = jobs::dialect_of(job);
  const bool comes_back = !dialect.again.empty();
  std::string text = "#!/bin/bash\n";
  for (const std::string& each : dialect.directives) text += dialect.prefix + each + "\n";
  for (const std::string& each : job.site.directives) text += dialect.prefix + each + "\n";
  text += "# Written by `retain launch`; launch/README.md says what it does.\n";
  text += "run=" + quote_for_shell(job.run) + "\n";
  text += "job=$run" + quote_for_shell(job.files.substr(job.run.size())) + "  # begins the names of this job's files\n";
  if (comes_back) text += concat("restarts=", job.restarts, "  # after failures\n");
  text += dialect.prepare + preparations(job.site) + "\n";
  text += "start() {\n  exec " + dialect.start + "\n}\n";
  text += "# Asks all ranks to save and to end with 75.\nask() {\n  " + dialect.ask + "\n}\n";
  if (comes_back) text += "again() {" + dialect.again + "}\n";
  text += "\n" + std::string(comes_back ? kRemember : kStop) + kWait;
  return text + (comes_back ? kDecide : "exit \"$code\"\n");
}

std::string job_suffix(Scheduler scheduler) { return jobs::dialect_of({.scheduler = scheduler}).suffix; }

std::vector<std::string> submit_command(Scheduler scheduler, const std::string& file) {
  switch (scheduler) {
    case Scheduler::kSlurm: return {"sbatch", "--parsable", file};
    case Scheduler::kPbs: return {"qsub", file};
    case Scheduler::kLsf: return {"sh", "-c", "bsub <" + quote_for_shell(file)};
    case Scheduler::kFlux: return {"flux", "batch", file};
    case Scheduler::kMpirun: return {"bash", file};
  }
  throw Error(ErrorKind::kInternal, "no such scheduler");
}

std::string job_id_of(const std::string& answer) {
  const size_t open = answer.find('<'), close = answer.find('>');  // Job <7> is submitted to queue <normal>.
  if (open != std::string::npos && close != std::string::npos && open < close)
    return answer.substr(open + 1, close - open - 1);
  return answer.substr(0, answer.find_first_of(";\n"));  // 7;cluster
}

}  // namespace retain
