# On a Slurm of two nodes (slurm_cluster.sh): what `retain launch` submits trains to its end over preemption, the limit of time
# and the death of a rank; an array; and --mpi=pmi2 and none, which are refused.
. "$(dirname "$0")/common.sh"
cluster=$work/cluster
. "$source_dir/tests/integration/slurm_cluster.sh"
trap 'cluster_down; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cluster_up || { echo "skipped: no Slurm can be started here"; exit 77; }
sed -i "s|text_train|$work/text_train|; s|text_valid|$work/text_valid|; s/eval: {every: 20/eval: {every: 0/; s/kind: cosine/kind: constant/; s/lr: 3e-3/lr: 3e-5/; s/every: 10, keep: 10/every: 20, keep: 3/" tiny.yaml
tokens=$((256 * 400))
endless=$((256 * 1000000))
sed -i "s/tokens: 10240/tokens: $tokens/" tiny.yaml
"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1

submit() { "$retain" launch tiny.yaml --nodes 2 --ranks-per-node 2 --set "run.dir=$1" --json "${@:2}" 2>launch.log | sed -n 's/.*"job": "\(.*\)",/\1/p'; }
state() { scontrol -o show job "$1" | grep -oE 'JobState=[A-Z]+' | sed 's/.*=//'; }
restarts() { scontrol -o show job "$1" | grep -oE 'Restarts=[0-9]+' | sed 's/.*=//'; }
wait_until() {  # SECONDS WHAT COMMAND…
  local since=$SECONDS
  until "${@:3}"; do
    [ $((SECONDS - since)) -lt "$1" ] || { tail -n 40 "$run"/jobs/* 2>/dev/null; squeue; fail "not within $1 s: $2"; }
    sleep 0.2
  done
}
is() { [ "$(state "$1")" = "$2" ]; }
has_saved() { [ -e "$run/checkpoints/latest" ]; }
has_saved_again() { [ "$(cat "$run/checkpoints/latest")" != "$saved" ]; }
restarted() { [ "$(restarts "$1")" -ge "$2" ] && is "$1" RUNNING; }
# So long a run goes on as the test needs it, and then it ends like the one that nobody disturbed: it is given its end when it
# is queued again, which its job reads then.
end_it() { sed -i -E "s/^( *tokens: )$endless\b/\1$1/" "$run"/jobs/0001.yaml; grep -q "tokens: $1" "$run"/jobs/0001.yaml || fail "the end of the run was not set"; }
# From one command to a trained model, in a folder whose name a shell would take apart.
run="$work/it's 100% mine"
job=$(submit "$run")
[ -n "$job" ] || fail "not submitted: $(cat launch.log)"
wait_until 60 "a job completes" is "$job" COMPLETED
[ -e "$run/DONE" ] || fail "not done: $(cat "$run"/jobs/*.out)"
[ -e "$run/jobs/0001-$job.out" ] || fail "the output is elsewhere: $(ls "$run/jobs")"
grep -q "dp=4 cp=1 tp=1" "$run/log.txt" || fail "$(cat "$run/log.txt")"
losses_near whole "$run" || fail "other losses"

# Preempted, it saves and goes on; then one of its ranks is killed.
run=$work/preempted
job=$(submit "$run" --set train.tokens=$endless)
wait_until 60 "a checkpoint before the preemption" has_saved
urgent=$(sbatch --parsable -p urgent -N 2 --ntasks-per-node=4 -o /dev/null --wrap 'sleep 2')
wait_until 60 "the job that preempts" is "$urgent" COMPLETED
grep -q 'exit 75: saved when it was told to end: goes on' "$run/jobs/0001.lives" || fail "$(cat "$run/jobs/0001.lives")"
wait_until 90 "the preempted job runs again" restarted "$job" 1
saved=$(cat "$run/checkpoints/latest")
wait_until 60 "a checkpoint after the preemption" has_saved_again
kill -9 "$(pgrep -f "^$retain train $run/jobs/0001.yaml" | tail -n 1)"
wait_until 30 "the job is queued again" is "$job" PENDING
grep -q 'exit 137: failed after step-' "$run/jobs/0001.lives" || fail "$(cat "$run/jobs/0001.lives")"
end_it $((256 * (10#$(sed s/step-// "$run/checkpoints/latest") + 10)))
wait_until 90 "the job completes" is "$job" COMPLETED
[ -e "$run/DONE" ] || fail "not done: $(cat "$run"/jobs/*.out)"
losses_near whole "$run" || fail "other losses"

# Told before its time is over, it saves, is queued again and goes on.
run=$work/limited
echo 'directives: [--time=1]' >site.yaml  # the least that there is
job=$(submit "$run" --set train.tokens=$endless --notice 10s --site site.yaml)
wait_until 60 "a checkpoint before the limit" has_saved
wait_until 90 "the end of its time" is "$job" PENDING
grep -q 'exit 75: saved when it was told to end: goes on' "$run/jobs/0001.lives" || fail "$(cat "$run/jobs/0001.lives")"
end_it $((256 * (10#$(sed s/step-// "$run/checkpoints/latest") + 10)))
wait_until 90 "the job completes" is "$job" COMPLETED
[ -e "$run/DONE" ] || fail "not done: $(cat "$run"/jobs/*.out)"
losses_near whole "$run" || fail "other losses"

# Cancelled, it saves and stays away.
run=$work/cancelled
job=$(submit "$run" --set train.tokens=$endless)
wait_until 60 "a checkpoint before the end" has_saved
scancel "$job"
wait_until 60 "what becomes of the job" grep -qs 'Slurm itself ends the job' "$run/jobs/0001.lives"
wait_until 60 "the job is cancelled" is "$job" CANCELLED

# An array: a run of its own for each task.
cat >array.sbatch <<END
#!/bin/bash
srun --mpi=pmix --kill-on-bad-exit=1 $retain train $work/tiny.yaml --set train.tokens=10240 \\
  --set 'run.dir=$work/seed-\$SLURM_ARRAY_TASK_ID' --set run.seed=\$SLURM_ARRAY_TASK_ID
END
array=$(sbatch --parsable --array=1-2 -n 2 -o array.out --open-mode=append array.sbatch)
wait_until 60 "an array" eval '[ -z "$(squeue -h -j '"$array"')" ]'
[ -e seed-1/DONE ] && [ -e seed-2/DONE ] || fail "$(cat array.out)"
! cmp -s seed-1/metrics.jsonl seed-2/metrics.jsonl || fail "one run twice"

# A launcher that MPI does not know would start so many runs of one rank each.
for mpi in pmi2 none; do
  expect_code 69 timeout 60 srun --mpi=$mpi -N 2 --ntasks-per-node=1 --kill-on-bad-exit=1 "$retain" train tiny.yaml --set run.dir="$work/$mpi"
  grep -q -- "--mpi=pmix" out.txt || fail "$mpi: the remedy is not named: $(cat out.txt)"
  [ ! -e "$mpi" ] || fail "$mpi: a refused start left something behind"
done
echo passed
