#!/bin/bash
#flux: --job-name=books
#flux: -N 2
#flux: -n 16 -g 1
#flux: -t 1440m
#flux: --bank=lab
#flux: --queue=gpu
# Written by `retain launch`; launch/README.md says what it does.
run=/shared/runs/books
job=$run/jobs/0001  # begins the names of this job's files
restarts=3  # after failures
exec >>"$job.out" 2>&1

start() {
  exec flux run -N 2 -n 16 -g 1 -o pmi=pmix \
    /shared/retain/bin/retain train "$job.yaml" --set limits.wall_time=86220s
}
# Asks all ranks to save and to end with 75.
ask() {
  flux job kill -s USR1 "$(flux job last)"
}
again() {
  if [ "$asked" = TERM ]; then
    say "the scheduler ends the job: not started again"
  else
    flux --parent batch "$job.flux"
  fi
}

newest() { cat "$run/checkpoints/latest" 2>/dev/null; }
events() { cat "$run/events.jsonl" 2>/dev/null; }
say() { echo "$(date -u +%FT%TZ) exit $code: $1" | tee -a "$job.lives"; }
before=$(newest) known=$(events | wc -l) asked=
trap 'asked=USR1; ask' USR1
trap 'asked=TERM; ask' TERM
start &
ranks=$!
while kill -0 "$ranks" 2>/dev/null; do wait "$ranks"; done
wait "$ranks"
code=$?

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
