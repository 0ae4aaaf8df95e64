# USR2: checkpoint and go on. USR1 and TERM: checkpoint and end with 75, all ranks together, whoever was told and however
# often. What comes after is the run that nobody disturbed.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 12800, batch_tokens: 64, micro_batch_tokens: 32/; s/every: 10, keep: 10/every: 0, keep: 10/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
"$retain" train tiny.yaml --set run.dir=whole1 >/dev/null 2>&1
ranks 2 train tiny.yaml --set run.dir=whole2 >/dev/null 2>&1

lines() { if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi; }
start() {  # RANKS: in the background, until it trains; its exit code goes to the file code
  rm -f code
  (code=0; ranks "$1" train tiny.yaml --set run.dir="run$1" >/dev/null 2>>"run$1.log" || code=$?; echo $code >code) &
  local before
  before=$(lines "run$1/metrics.jsonl")
  until [ "$(lines "run$1/metrics.jsonl")" -gt "$before" ] || [ -e code ]; do sleep 0.01; done
}
# The ranks of a run, not their launcher.
pids() { pgrep -f "^[^ ]*retain train tiny.yaml --set run.dir=$1\$"; }
ended() { wait; [ "$(cat code)" = 75 ] || { cat "$1.log"; fail "$2: exit $(cat code)"; }; [ -e "$1/checkpoints/latest" ] || fail "$2: no checkpoint"; }

for n in 1 2; do
  start $n
  kill -USR2 $(pids run$n)
  until [ -e run$n/checkpoints/latest ] || [ -e code ]; do sleep 0.01; done
  [ ! -e code ] || [ "$(cat code)" = 0 ] || fail "USR2 ended the run with $(cat code)"
  for i in $(seq 20); do kill -USR1 $(pids run$n | tail -1) 2>/dev/null || true; done
  ended run$n "USR1 to one of $n ranks"
  start $n
  for pid in $(pids run$n); do kill -TERM "$pid" 2>/dev/null || true; done
  ended run$n "TERM to $n ranks"
  ranks $n train tiny.yaml --set run.dir=run$n >/dev/null 2>>run$n.log
  diff <(losses whole$n) <(losses run$n) || fail "losses differ after signals"
  for shard in whole$n/checkpoints/step-00000200/shard-*; do
    cmp "$shard" "run$n/checkpoints/step-00000200/$(basename "$shard")" || fail "weights differ after signals"
  done
done

# Whoever read the output goes away: the run goes on to its end, and says at the end that something was not written.
expect_code 74 bash -c '("$1" train tiny.yaml --set run.dir=unread --set log.every=1; echo $? >unread.code) 2>/dev/null | head -n 1; exit $(cat unread.code)' - "$retain"
[ -e unread/DONE ] || fail "a run whose output nobody reads did not finish"
echo passed
