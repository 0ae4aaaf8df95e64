# One job at a time in a run directory: a second one is refused, a dead holder is followed at once, and a holder that
# slept while another took over commits nothing more.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 19200, batch_tokens: 64, micro_batch_tokens: 64/; s/every: 10, keep: 10/every: 2, keep: 3/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
steps() { cat "$1/checkpoints/latest" 2>/dev/null | tr -dc 0-9 | sed 's/^0*//'; }
wait_for_step() {  # RUN STEP PID: until the run has committed that step
  until [ "$(steps "$1" || true)" -ge "$2" ] 2>/dev/null; do
    kill -0 "$3" 2>/dev/null || fail "the run ended before step $2"
    sleep 0.02
  done
}

"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1
"$retain" train tiny.yaml >/dev/null 2>first.log &
first=$!
wait_for_step run 2 $first

# A second job, while the first trains on.
expect_code 73 "$retain" train tiny.yaml
grep -q "in use by process $first on $(hostname)" out.txt || fail "the holder is not named: $(cat out.txt)"
# Memory that the holder may have is not what it is told about.
expect_code 73 "$retain" train tiny.yaml --set model.hidden_size=65536 --set model.ffn_size=65536 --set model.layers=64
grep -q "in use by process $first on $(hostname)" out.txt || fail "the holder is not named: $(cat out.txt)"
kill -0 $first || fail "the holder is gone"

# The holder sleeps (as a machine does that lost its network) until its lock counts as stale; a third job goes on.
kill -STOP $first
touch -d '2 minutes ago' run/LOCK
slept_at=$(steps run)
"$retain" train tiny.yaml >/dev/null 2>third.log &
third=$!
wait_for_step run $((slept_at + 4)) $third
kill -CONT $first
code=0
wait $first || code=$?
[ $code = 73 ] || fail "the loser ended with $code: $(cat first.log)"
grep -qE "taken over by process $third|was removed while" first.log || fail "$(cat first.log)"
[ ! -e run/FAILED ] || fail "the loser left its mark in the run of the winner"
wait $third || fail "the winner: $(cat third.log)"
[ -e run/DONE ] || fail "the winner did not finish"
"$retain" checkpoint verify run >out.txt || fail "$(cat out.txt)"
cmp run/checkpoints/step-00000300/shard-00000-of-00001.h5 whole/checkpoints/step-00000300/shard-00000-of-00001.h5 || fail "other weights"

# A holder that was killed is followed at once.
"$retain" train tiny.yaml --set run.dir=killed >/dev/null 2>&1 &
killed=$!
wait_for_step killed 2 $killed
kill -9 $killed
wait $killed 2>/dev/null || true
[ -e killed/LOCK ] || fail "the test is wrong: a killed run leaves its lock"
expect_code 0 "$retain" train tiny.yaml --set run.dir=killed

# One on another host, whose stamp does not move, is waited for and followed.
printf 'host: elsewhere\npid: 42\njob: 7\nspace: x y\nstarted: 1\nnonce: 0\n' >killed/LOCK
touch -d '10 seconds ago' killed/LOCK
expect_code 0 "$retain" train tiny.yaml --set run.dir=killed
grep -q 'was taken by process 42 on elsewhere, job 7, whose last sign of life is 1[0-9] s old; if there is none for [0-9] s' out.txt || fail "the wait is not told: $(cat out.txt)"

# A copy of a run that goes on is not in use by the run that it was copied from.
"$retain" train tiny.yaml --set run.dir=original --set train.tokens=6400000 >/dev/null 2>original.log &
original=$!
wait_for_step original 2 $original
kill -STOP $original
cp -r original copy
kill -CONT $original
touch -d '1 minute ago' copy/LOCK
steps=$(($(steps copy) + 4))
expect_code 0 "$retain" train tiny.yaml --set run.dir=copy --set train.tokens=$((64 * steps))
kill -USR1 $original
code=0
wait $original || code=$?
[ $code = 75 ] || fail "the original ended with $code: $(cat original.log)"
# ---- the same job on another machine: a later life takes over at once, the same one waits as anybody does ----
held_by() { printf 'host: elsewhere\npid: 42\njob: %s\nrestarts: %s\nspace: x y\nstarted: 1\nnonce: 0\n' "$1" "$2" >killed/LOCK; }
restart() { env SLURM_JOB_ID=7 SLURM_RESTART_COUNT=$1 "$retain" train tiny.yaml --set run.dir=killed; }
held_by 7 0
begin=$SECONDS
expect_code 0 restart 1
! grep -q 'was taken by' out.txt && [ $((SECONDS - begin)) -lt 5 ] || fail "a later life of the job waits: $(cat out.txt)"
held_by 7 1
begin=$SECONDS
expect_code 0 restart 1
grep -q 'was taken by process 42 on elsewhere, job 7' out.txt || fail "taken from the same life: $(cat out.txt)"
[ $((SECONDS - begin)) -le 20 ] || fail "a dead holder is waited for for $((SECONDS - begin)) s"

# ---- pairs that start at once: one of them trains, the other one is refused and names it ----
for pair in $(seq 20); do
  for member in 1 2; do
    "$retain" train tiny.yaml --set run.dir=pair --set train.tokens=6400000 --set checkpoint.every=0 >/dev/null 2>pair$member.log &
    pids[$member]=$!
  done
  loser=
  until [ "$loser" ]; do
    for member in 1 2; do kill -0 ${pids[$member]} 2>/dev/null || loser=$member; done
    sleep 0.01
  done
  code=0
  wait ${pids[$loser]} || code=$?
  winner=$((3 - loser))
  [ $code = 73 ] || fail "pair $pair: the loser ended with $code: $(cat pair$loser.log)"
  grep -q "in use by process ${pids[$winner]} on " pair$loser.log || fail "pair $pair: $(cat pair$loser.log)"
  # Half of them are followed by a pair that finds a dead holder.
  [ $((pair % 2)) = 0 ] && end=KILL want=137 || end=USR1 want=75
  until grep -q 'info: training' pair$winner.log; do kill -0 ${pids[$winner]} || fail "$(cat pair$winner.log)"; sleep 0.01; done
  kill -$end ${pids[$winner]}
  code=0
  wait ${pids[$winner]} 2>/dev/null || code=$?
  [ $code = $want ] || fail "pair $pair: the winner ended with $code: $(cat pair$winner.log)"
done
echo passed
