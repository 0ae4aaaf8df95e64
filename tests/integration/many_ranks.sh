# 2, 8 and 64 ranks on one machine, however few processors it has: each starts, trains ten steps of a tiny model, loses a rank by
# SIGKILL and goes on to the end, with the losses of one rank. Prints how long the end of the first step took; that, and the whole,
# is within limits which two busy processors keep.
. "$(dirname "$0")/common.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
settings="--set train.batch_tokens=2048 --set train.micro_batch_tokens=32 --set checkpoint.every=5 --set eval.every=0 --set log.every=1 --set schedule.kind=constant"
train() { ranks "$1" train tiny.yaml --set run.dir="run$1" $settings --set train.tokens=$((2048 * $2)); }
started() { python3 -c 'import json, sys
print(*[e["seconds"] for e in map(json.loads, open(sys.argv[1])) if e["event"] == "started"])' "$1/events.jsonl"; }

train 1 20 >/dev/null 2>log || { cat log; fail "one rank"; }
for n in 2 8 64; do
  SECONDS=0
  train $n 10 >/dev/null 2>log || { cat log; fail "$n ranks"; }
  ten=$SECONDS
  (code=0; train $n 1000000 >/dev/null 2>log || code=$?; echo $code >code) &
  until [ "$(lines run$n/metrics.jsonl)" -ge 14 ]; do [ ! -e code ] || { cat log; fail "$n ranks ended"; }; sleep 0.1; done
  kill -9 "$(pgrep -f "^[^ ]*retain train tiny.yaml --set run.dir=run$n " | tail -n 1)"
  SECONDS=0
  wait
  [ "$(cat code)" = 137 ] || [ "$(cat code)" = 69 ] || { cat log; fail "$n ranks after a kill: exit $(cat code)"; }
  death=$SECONDS
  rm code
  SECONDS=0
  train $n 20 >/dev/null 2>log || { cat log; fail "$n ranks after a kill"; }
  echo "$n ranks on $(nproc) processors: first steps ended after $(started run$n) s; ten steps $ten s, the end after a kill $death s, the rest $SECONDS s"
  python3 - run1 run$n <<'END' || fail "$n ranks: other losses than one rank's"
import json, sys
losses = [{r["step"]: r["loss"] for r in map(json.loads, open(run + "/metrics.jsonl")) if "loss" in r} for run in sys.argv[1:]]
assert set(losses[0]) <= set(losses[1]) and len(losses[0]) == 20, losses
assert all(abs(losses[0][s] - losses[1][s]) < 5e-3 for s in losses[0]), losses  # sums of another order drift apart
END
  [ $((ten + death + SECONDS)) -lt 300 ] || fail "$n ranks took too long"
done
echo passed
