# USR2: checkpoint and go on. USR1 and TERM: checkpoint and end with 75, all ranks together, whoever was told and however
# often. What comes after is the run that nobody disturbed. The runs that get signals have no end within reach, so that none
# can end first; the rate stays constant, and the run to compare with is as long as theirs turned out to be.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 3200, batch_tokens: 64, micro_batch_tokens: 32/; s/kind: cosine/kind: constant/; s/every: 10, keep: 10/every: 0, keep: 10/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
endless=6400000  # tokens: 100,000 steps, minutes where the rest takes seconds

start() {  # RANKS: in the background, until it trains; its exit code goes to the file code
  rm -f code
  local before
  before=$(lines "run$1/metrics.jsonl")
  (code=0; ranks "$1" train tiny.yaml --set train.tokens=$endless --set run.dir="run$1" >/dev/null 2>>"run$1.log" || code=$?; echo $code >code) &
  until [ "$(lines "run$1/metrics.jsonl")" -gt "$before" ]; do goes_on "run$1"; sleep 0.01; done
}
goes_on() { [ ! -e code ] || { cat "$1.log"; fail "$1 ended with $(cat code) before it was told to"; }; }
# The ranks of a run, not their launcher.
pids() { pgrep -f "^[^ ]*retain train tiny.yaml --set train.tokens=$endless --set run.dir=$1\$"; }
ended() { wait; [ "$(cat code)" = 75 ] || { cat "$1.log"; fail "$2: exit $(cat code)"; }; [ -e "$1/checkpoints/latest" ] || fail "$2: no checkpoint"; }

for n in 1 2; do
  start $n
  kill -USR2 $(pids run$n)
  until [ -e run$n/checkpoints/latest ]; do goes_on run$n; sleep 0.01; done
  for i in $(seq 20); do kill -USR1 $(pids run$n | tail -1) 2>/dev/null || true; done
  ended run$n "USR1 to one of $n ranks"
  start $n
  for pid in $(pids run$n); do kill -TERM "$pid" 2>/dev/null || true; done
  ended run$n "TERM to $n ranks"
  step=$((10#$(sed 's/step-//' run$n/checkpoints/latest) + 20))
  for run in run$n whole$n; do
    ranks $n train tiny.yaml --set train.tokens=$((64 * step)) --set run.dir=$run >/dev/null 2>>$run.log
  done
  diff <(losses whole$n) <(losses run$n) || fail "losses differ after signals"
  last=checkpoints/step-$(printf %08d $step)
  for shard in whole$n/$last/shard-*; do
    cmp "$shard" "run$n/$last/$(basename "$shard")" || fail "weights differ after signals"
  done
done

# Whoever read the output goes away: the run goes on to its end, and says at the end that something was not written.
expect_code 74 bash -c '("$1" train tiny.yaml --set run.dir=unread --set log.every=1; echo $? >unread.code) 2>/dev/null | head -n 1; exit $(cat unread.code)' - "$retain"
[ -e unread/DONE ] || fail "a run whose output nobody reads did not finish"
echo passed
