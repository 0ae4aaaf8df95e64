# k + k steps equal 2k steps to the last bit of every weight and loss, alone and under mpirun.
. "$(dirname "$0")/common.sh"

for n in 1 2; do
  ranks $n train tiny.yaml --set run.dir=whole$n >/dev/null 2>whole$n.log
  # Ask for the end after some steps: the file STOP, honoured at a step boundary with exit 75.
  (code=0; ranks $n train tiny.yaml --set run.dir=cut$n >/dev/null 2>cut$n.log || code=$?; echo $code >code) &
  until [ -s cut$n/metrics.jsonl ]; do sleep 0.05; done
  touch cut$n/STOP
  wait
  # A machine may be fast enough to finish first; then there is nothing to resume and the comparison stands all the same.
  [ "$(cat code)" = 75 ] || [ "$(cat code)" = 0 ] || fail "STOP gave exit $(cat code)"
  ranks $n train tiny.yaml --set run.dir=cut$n >/dev/null 2>>cut$n.log
  [ -e cut$n/DONE ] || fail "no DONE"
  diff <(losses whole$n) <(losses cut$n) || fail "$n ranks: losses differ after a resume"
  # Resume from an exact step in the middle as well.
  cp -r whole$n again$n
  [ "$(ls whole$n/tensorboard | wc -l)" = 1 ] || fail "$n ranks: one run wrote $(ls whole$n/tensorboard)"
  ranks $n train tiny.yaml --set run.dir=again$n --resume again$n/checkpoints/step-00000020 >/dev/null 2>again$n.log
  diff <(losses whole$n) <(losses again$n) || fail "$n ranks: losses differ after going back to step 20"
  [ "$(ls again$n/tensorboard | wc -l)" = 2 ] || fail "$n ranks: two starts wrote $(ls again$n/tensorboard)"
  for other in cut$n again$n; do
    for shard in whole$n/checkpoints/step-00000040/shard-*; do
      cmp "$shard" "$other/checkpoints/step-00000040/$(basename "$shard")" || fail "$n ranks: weights differ after a resume"
    done
  done
done

# The same command on a finished run changes nothing.
before=$(wc -l <whole1/metrics.jsonl)
ranks 1 train tiny.yaml --set run.dir=whole1 >/dev/null 2>&1
[ "$(grep -c '"loss"' whole1/metrics.jsonl)" = 40 ] || fail "a finished run trained on ($before lines before)"

# A checkpoint opens with h5py, where it is installed.
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
  /usr/bin/python3 - <<'END' || fail "h5py"
import h5py, math
with h5py.File("whole2/checkpoints/step-00000040/global.h5", "r") as f:
    w = f["/param/layers.0.retention.q_proj.weight/master"][...]
    assert w.shape == (32, 32) and w.dtype == "float32" and math.isfinite(abs(w).sum()) and abs(w).sum() > 0
END
fi

# --init-from begins a run: where there is one already it goes on, which is said, and its own weights are refused.
expect_code 0 "$retain" train tiny.yaml --set run.dir=whole1 --init-from whole2
grep -q -- '--init-from whole2 is not used: .*/whole1 holds this run already' out.txt || fail "nothing is said: $(cat out.txt)"
for weights in whole1 whole1/checkpoints/step-00000020; do
  expect_code 64 "$retain" train tiny.yaml --set run.dir=./whole1/ --init-from $weights
  grep -q 'another run.dir' out.txt || fail "the remedy is not named: $(cat out.txt)"
done
expect_code 0 "$retain" train tiny.yaml --set run.dir=again1 --init-from again1 --resume never --set train.tokens=512

# What must not change is named.
expect_code 65 "$retain" train tiny.yaml --set run.dir=whole1 --set model.ffn_size=64
grep -q 'model.ffn_size' out.txt || fail "the changed key is not named: $(cat out.txt)"
echo passed
