# retain launch: what it writes, keeps and submits; what a job makes of each exit code; a run under --supervise whose ranks
# are killed. The schedulers here are scripts that do as they are told; slurm.sh has a real one.
. "$(dirname "$0")/common.sh"
mkdir bin "odd place"
export PATH=$PWD/bin:$PATH
cp "$retain" "odd place/retain"  # a program and a run whose paths a shell would take apart
program="$PWD/odd place/retain"
run="$PWD/odd place/it's 100% \"mine\" & \$(yours)"
sed -i "s/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 1024, batch_tokens: 128, micro_batch_tokens: 64/; s/every: 10, keep: 10/every: 2, keep: 3/; s/eval: {every: 20/eval: {every: 0/" tiny.yaml
{ cat tiny.yaml; printf 'base: []\n'; } | sed "s|^run: .*|run: {seed: 3, dir: \"odd place/it's 100% \\\\\"mine\\\\\" \& \${YOURS}\"}|" >odd.yaml
export YOURS='(yours)'
run="$PWD/odd place/it's 100% \"mine\" & (yours)"

fake() { printf '#!/bin/bash\n%s\n' "$2" >"bin/$1"; chmod +x "bin/$1"; }
fake sbatch 'echo "$@" >>'"$PWD"'/sbatch.asked; [ ! -e '"$PWD"'/closed ] || { echo "no such partition" >&2; exit 1; }; echo "7;cluster"'
fake scontrol '[ "$1" != requeue ] || echo "$@" >>'"$PWD"'/scontrol.asked; [ "$1" = requeue ] || echo "JobId=7 JobState=${STATE:-RUNNING} Restarts=0"'

# What a job is refused for before anything is written.
expect_code 78 "$program" launch odd.yaml --nodes 3 --ranks-per-node 1 --set parallel.tp=2
grep -q "needs a multiple of 2 ranks, but there are 3 (legal: dp=1 cp=3\|legal:" out.txt || fail "$(cat out.txt)"
expect_code 64 "$program" launch odd.yaml --gpus-per-node 1
grep -q "device: cpu takes no GPUs" out.txt || fail "$(cat out.txt)"
expect_code 66 "$program" launch odd.yaml --ranks-per-node 1 --site nowhere.yaml
[ ! -e "$run" ] || fail "a refused job left something behind"
expect_code 0 "$program" launch odd.yaml --ranks-per-node 1 --dry-run
[ ! -e "$run" ] && [ ! -e sbatch.asked ] || fail "a dry run left something behind"
touch closed
expect_code 69 "$program" launch odd.yaml --ranks-per-node 1
grep -q "sbatch did not take the job (exit 1)" out.txt || fail "$(cat out.txt)"
[ -z "$(ls "$run/jobs")" ] || fail "a job that nobody took was kept"
rm closed

# What is submitted is kept, with the configuration as it is now.
expect_code 0 "$program" launch odd.yaml --ranks-per-node 1 --time 10m --json --restarts 2
grep -q '"job": "7"' out.txt || fail "$(cat out.txt)"
job="$run/jobs/0001"
grep -qxF -- "--parsable $job.sbatch" sbatch.asked || fail "$(cat sbatch.asked)"
bash -n "$job.sbatch"
sed -i 's/tokens: 1024/tokens: 512/' odd.yaml  # what is edited later is another job's

# Run by hand: all the scheduler's start does is to start the program.
fake srun 'while [[ $1 == --* ]]; do shift; done; exec "$@"'
export SLURM_JOB_ID=7
expect_code 0 bash "$job.sbatch"
[ -e "$run/DONE" ] && [ "$(cat "$run/checkpoints/latest")" = step-00000008 ] || fail "$(cat out.txt)"
grep -q 'exit 0: done' "$job.lives" || fail "$(cat "$job.lives")"

# What becomes of each exit code, by what was saved since the start and how often it failed before.
fake srun 'echo x >>"$COUNT"; [ -z "$SAVES" ] || wc -l <"$COUNT" >"$RUN/checkpoints/latest"; [ -z "$CAUSE" ] || echo "{\"event\":\"error\",\"code\":\"$CAUSE\"}" >>"$RUN/events.jsonl"; exit $CODE'
export COUNT="$PWD/count" RUN="$run" SAVES= CAUSE= CODE
after() {  # CODE SAVES CAUSE: says whether the job came back
  rm -f scontrol.asked
  CODE=$1 SAVES=${2:-} CAUSE=${3:-} expect_code "${4:-$1}" bash "$job.sbatch"
  [ ! -e scontrol.asked ] || grep -qx "requeue 7" scontrol.asked || fail "$(cat scontrol.asked)"
  [ -e scontrol.asked ] && came=back || came=
}
for code in 0 64 65 66 69 71 73 74 76 78 126 127; do
  after $code yes
  [ -z "$came" ] || fail "exit $code came back"
done
for code in 1 9 63 70 134 137 205; do
  after $code
  [ -z "$came" ] || fail "exit $code came back though nothing had been saved"
  rm "$job.lives"
  after $code yes
  [ "$came" ] || fail "exit $code did not come back: $(cat out.txt)"
done
fake srun 'echo "{\"event\":\"stop\",\"reason\":\"asked to stop: the file $RUN/STOP (rank 0)\"}" >>"$RUN/events.jsonl"; exit 75'
after 75
[ -z "$came" ] || fail "a run that the file STOP ended came back"
fake srun 'echo x >>"$COUNT"; [ -z "$SAVES" ] || wc -l <"$COUNT" >"$RUN/checkpoints/latest"; [ -z "$CAUSE" ] || echo "{\"event\":\"error\",\"code\":\"$CAUSE\"}" >>"$RUN/events.jsonl"; exit $CODE'
for more in 1 2 3; do after 75; [ "$came" ] || fail "75 did not come back"; done
STATE=COMPLETING after 75
[ -z "$came" ] || fail "a cancelled job came back"
rm "$job.lives"
after 137 yes 76 76
[ -z "$came" ] || fail "a launcher's 137 hid the run's own 76"
after 137 yes; after 137 yes
[ "$came" ] || fail "the second failure of two did not come back: $(cat "$job.lives")"
after 137 yes
[ -z "$came" ] || fail "more failures came back than were allowed: $(cat "$job.lives")"

# A signal to the script reaches the ranks, even if the launcher loses the first, and the script waits for what they make
# of it.
fake srun 'trap "[ \$((asked += 1)) = 1 ] || exit 75" USR1; touch '"$PWD"'/up; while :; do sleep 0.02; done'
for signal in USR1 TERM; do
  rm -f up scontrol.asked
  bash "$job.sbatch" >out.txt 2>&1 &
  script=$!
  until [ -e up ]; do sleep 0.01; done
  kill -$signal $script
  code=0
  wait $script || code=$?
  [ $code = 75 ] && [ -e scontrol.asked ] || fail "$signal: exit $code: $(cat out.txt)"
done

# Under --supervise a killed rank costs a restart, and the run ends as one that nobody disturbed.
sed -i 's/tokens: 512/tokens: 256000/; s/every: 2, keep: 3/every: 50, keep: 3/' odd.yaml
"$program" launch odd.yaml --scheduler mpirun --ranks-per-node 2 --set run.dir=whole >/dev/null 2>&1
steps() { lines "odd place/supervised/metrics.jsonl"; }
supervisor=
start() {
  "$program" launch odd.yaml --set "run.dir=odd place/supervised" --ranks-per-node 2 --supervise >out.txt 2>&1 &
  supervisor=$!
}
ranks_of() { pgrep -f "^$program train $PWD/odd place/supervised/jobs/" || true; }
wait_for_steps() { until [ "$(steps)" -ge "$1" ]; do kill -0 $supervisor 2>/dev/null || fail "ended before step $1: $(cat out.txt)"; sleep 0.01; done; }
start
wait_for_steps 100
kill -9 "$(ranks_of | tail -n 1)"
before=$(steps)
wait_for_steps $((before + 80))
kill -TERM $supervisor
code=0
wait $supervisor || code=$?
[ $code = 75 ] || fail "TERM to the supervisor: exit $code: $(cat out.txt)"
grep -q "exit 137 (128 + signal 9), newest checkpoint step-.*; starts again" out.txt || fail "$(cat out.txt)"
[ -z "$(ranks_of)" ] || fail "ranks are left"
start
wait $supervisor || fail "the last start: $(cat out.txt)"
[ "$(digest whole)" = "$(digest "odd place/supervised")" ] || fail "other weights"

# What would happen again is not tried again, and what makes no headway ends.
expect_code 66 "$program" launch odd.yaml --set run.dir=refused --set 'data.train=[{path: nowhere}]' --ranks-per-node 1 --supervise
grep -q "not started again" out.txt || fail "$(cat out.txt)"
fake mpirun 'echo x >>'"$PWD"'/starts; exit 137'
expect_code 137 "$program" launch odd.yaml --set run.dir=hopeless --ranks-per-node 1 --supervise --restarts 2
[ "$(lines starts)" = 3 ] || fail "$(lines starts) starts"
[ "$(grep -c 'start [123]: exit 137' out.txt)" = 3 ] || fail "$(cat out.txt)"
echo passed
