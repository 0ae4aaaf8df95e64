# Saves that fail in a run that trains: it goes on, and ends with 74 when it ends without the checkpoint of its last step,
# saved in the background or not, finished or asked to stop.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 1280, batch_tokens: 64, micro_batch_tokens: 64/; s/tokens: 512/tokens: 128/; s/every: 10, keep: 10/every: 5, keep: 3/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
endless=6400000  # tokens: minutes where the rest takes seconds

"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1
shard=$(stat -c %s whole/checkpoints/step-00000020/shard-00000-of-00001.h5)
# Room for what the start tries, and for all of a checkpoint but one byte.
limit="prlimit --fsize=$((shard - 1))"
wait_for() {  # FILE PATTERN: until a run in the background has written that
  until grep -q "$2" "$1" 2>/dev/null; do kill -0 $run || { cat log; fail "the run ended before '$2'"; }; sleep 0.02; done
}
ends_with_74() { code=0; wait $run || code=$?; [ $code = 74 ] || { cat log; fail "$1: exit $code"; }; }

# ---- a limit below what a checkpoint takes: refused before the first step, without a signal's death ----
expect_code 74 prlimit --fsize=65536 "$retain" train tiny.yaml --set run.dir=refused
grep -q 'cannot save to .*File too large' out.txt || fail "$(cat out.txt)"
[ ! -s refused/metrics.jsonl ] || fail "trained without room to save"

for async in true false; do
  # ---- to the end without a checkpoint ----
  expect_code 74 $limit "$retain" train tiny.yaml --set run.dir=end$async --set checkpoint.async=$async
  [ "$(grep -c 'was not saved: .*File too large; training goes on' out.txt)" = 3 ] || { cat out.txt; fail "async $async: failed saves"; }
  grep -q 'the run ends because a checkpoint could not be saved: step 20' out.txt || { cat out.txt; fail "async $async: no reason"; }
  [ ! -e end$async/DONE ] || fail "async $async: DONE without a checkpoint"

  # ---- asked to stop ----
  $limit "$retain" train tiny.yaml --set run.dir=stop$async --set checkpoint.async=$async --set checkpoint.every=0 --set train.tokens=$endless >/dev/null 2>log &
  run=$!
  wait_for stop$async/metrics.jsonl loss
  kill -USR1 $run
  ends_with_74 "async $async, stopped"

  # ---- a limit that comes later: what was saved before stays ----
  "$retain" train tiny.yaml --set run.dir=later$async --set checkpoint.async=$async --set train.tokens=$endless >/dev/null 2>log &
  run=$!
  wait_for later$async/checkpoints/latest step
  prlimit --pid $run --fsize=$((shard - 1))
  wait_for log 'training goes on'
  kill -USR1 $run
  ends_with_74 "async $async, later"
  "$retain" checkpoint verify later$async >out.txt || { cat out.txt; fail "damaged checkpoints"; }
  [ -z "$(ls -A later$async/checkpoints | grep -vE '^(step-[0-9]{8}|latest)$')" ] || fail "debris: $(ls -A later$async/checkpoints)"
  expect_code 0 "$retain" train tiny.yaml --set run.dir=later$async --set train.tokens=$((64 * ($(sed 's/step-0*//' later$async/checkpoints/latest) + 5)))
done

# ---- keep: 1 keeps one, and says once what that means ----
expect_code 0 "$retain" train tiny.yaml --set run.dir=one --set checkpoint.keep=1
[ "$(ls one/checkpoints)" = "$(printf 'latest\nstep-00000020')" ] || fail "kept: $(ls one/checkpoints)"
[ "$(grep -c 'no older one to go back to' out.txt)" = 1 ] || { cat out.txt; fail "keep: 1 is not warned of once"; }
grep -q 'deleted step-00000015: 1 newer step is whole' one/log.txt || { cat one/log.txt; fail "no reason for a deletion"; }
echo passed
