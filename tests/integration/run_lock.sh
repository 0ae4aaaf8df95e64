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
echo passed
