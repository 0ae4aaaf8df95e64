# USR2: checkpoint and go on. USR1, TERM, INT, HUP and QUIT: checkpoint and end with 75, all ranks together, whoever was told
# and however often; what must end a run that grants no wish ends it at once. What comes after is the run that nobody
# disturbed. The runs that get signals have no end within reach, so that none can end first; the rate stays constant, and
# the run to compare with is as long as theirs turned out to be.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 3200, batch_tokens: 64, micro_batch_tokens: 32/; s/kind: cosine/kind: constant/; s/every: 10, keep: 10/every: 0, keep: 10/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
ulimit -c 0
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

grep -qE 'ended with exit code 75: asked to stop: SIGUSR1 \(rank [01]\); ' run2/log.txt || fail "nothing says who was asked: $(cat run2/log.txt)"
grep -qE 'asked to stop: SIGTERM \(ranks? [01]' run2/log.txt || fail "$(cat run2/log.txt)"
grep -qE 'saving as asked: SIGUSR2 \(ranks? [01]' run2/log.txt || fail "$(cat run2/log.txt)"
[ "$(grep -c '"event":"checkpoint"' run1/events.jsonl)" = 4 ] || fail "20 signals are $(grep -c '"event":"checkpoint"' run1/events.jsonl) saves"

# ---- alone, without a launcher: from the keyboard, a closed terminal, whatever else asks ----
alone() {  # RUN OPTIONS…: in the background as process $run, until it trains
  rm -f $1.log
  "$retain" train tiny.yaml --set run.dir=$1 --set train.tokens=$endless "${@:2}" >/dev/null 2>$1.log &
  run=$!
  until grep -q 'info: training' $1.log 2>/dev/null; do kill -0 $run || fail "$(cat $1.log)"; sleep 0.01; done
}
ends_with() { code=0; wait $run || code=$?; [ $code = "$1" ] || { cat "$2.log"; fail "$2: exit $code, want $1"; }; }
for signal in INT HUP QUIT USR1; do
  alone one
  kill -$signal $run
  ends_with 75 one
  tail -n 1 one/log.txt | grep -qE "ended with exit code 75: asked to stop: SIG$signal; .*newest checkpoint .*one/checkpoints/step-" || fail "$(cat one/log.txt)"
  tail -n 1 one/events.jsonl | grep -q "\"event\":\"stop\".*\"code\":\"75\".*\"reason\":\"asked to stop: SIG$signal\"" || fail "$(cat one/events.jsonl)"
done
# A terminal that is closed hangs up by the kernel and by the shell: one wish.
python3 - "$retain" <<'END' || fail "a closed terminal: $(tail -n 3 one/log.txt)"
import json, os, pty, sys, time
start = sum(1 for _ in open("one/metrics.jsonl"))
shell, terminal = pty.fork()
if shell == 0:
    os.execvp("bash", ["bash", "--norc", "-i"])
os.write(terminal, f"{sys.argv[1]} train tiny.yaml --set run.dir=one --set train.tokens=6400000 >/dev/null\n".encode())
while sum(1 for _ in open("one/metrics.jsonl")) < start + 5:
    time.sleep(0.05)
os.close(terminal)
os.waitpid(shell, 0)
for _ in range(1000):
    last = json.loads(open("one/events.jsonl").readlines()[-1])
    if last["event"] == "stop":
        break
    time.sleep(0.01)
sys.exit(last["event"] != "stop" or last["reason"] != "asked to stop: SIGHUP")
END

# ---- a step that takes minutes: nothing is granted, and the second one ends the process at once ----
long="--set train.batch_tokens=8Mi --set train.tokens=64Mi --set run.dir=long"
in_a_step() {  # what a start takes of processors before its first step is much less than two seconds
  alone long $long
  until [ "$(awk '{ print $14 + $15 }' /proc/$run/stat)" -gt 200 ]; do sleep 0.05; done
}
hears() { until grep -q "retain: SIG$1: the run will save and end" long.log; do kill -0 $run || fail "$(cat long.log)"; sleep 0.01; done; }
for signal in INT:130 QUIT:131; do
  in_a_step
  kill -${signal%:*} $run
  hears ${signal%:*}
  kill -${signal%:*} $run
  ends_with ${signal#*:} long
done
in_a_step
kill -TERM $run
hears TERM
kill -TERM $run
sleep 5.1
kill -0 $run || fail "two TERM at once end a run: $(cat long.log)"
kill -TERM $run
ends_with 143 long

# ---- to mpirun itself, also where whoever began all this ignores the signal, and where mpirun passes none on ----
mpi() {  # COMMAND: starts what follows it
  rm -rf mpi
  bash -c "$1" - "$source_dir/launch/mpirun.sh" --program "$retain" -n 2 "${@:2}" train tiny.yaml --set run.dir=mpi --set train.tokens=$endless >/dev/null 2>mpi.log &
  run=$!
  until [ "$(lines mpi/metrics.jsonl)" -gt 3 ]; do kill -0 $run || fail "$(cat mpi.log)"; sleep 0.01; done
  kill -USR1 $run
  ends_with 75 mpi
}
mpi 'exec "$@"'
mpi 'trap "" USR1; exec "$@"'
mpi 'exec "$@"' --mca ess_base_forward_signals none --

# ---- told to save, and killed while it does: goes on from there or from before ----
for delay in 0.005 0.02 0.1; do
  alone killed --set checkpoint.every=50
  until [ "$(lines killed/metrics.jsonl)" -gt 5 ]; do kill -0 $run || fail "$(cat killed.log)"; sleep 0.01; done
  kill -USR1 $run
  sleep $delay
  kill -9 $run 2>/dev/null || true
  code=0
  wait $run 2>/dev/null || code=$?
  [ $code = 75 ] || [ $code = 137 ] || fail "exit $code: $(cat killed.log)"
done
done_steps=$(grep -o '"step":[0-9]*' killed/metrics.jsonl | tail -n 1 | tr -dc 0-9)
step=$((done_steps + 20))
for run_dir in killed straight; do
  "$retain" train tiny.yaml --set checkpoint.every=50 --set train.tokens=$((64 * step)) --set run.dir=$run_dir >/dev/null 2>>$run_dir.log || fail "$(cat $run_dir.log)"
done
last=checkpoints/step-$(printf %08d $step)/shard-00000-of-00001.h5
cmp straight/$last killed/$last || fail "weights differ after USR1 and a kill"

# ---- before the first step: nothing is saved, and where no directory was none is made ----
early() { env --block-signal=USR1,USR2 sh -c 'for s in $0; do kill -$s $$; done; exec "$@"' "$@"; }
expect_code 75 early "USR1 USR2" "$retain" train tiny.yaml --set run.dir=early
grep -q 'asked to stop: SIGUSR1; exit code 75 before the first step' out.txt || fail "$(cat out.txt)"
[ ! -e early ] || fail "USR1 before the start made $(ls early)"
expect_code 138 early USR1 "$retain" plan tiny.yaml

# ---- STOP, laid between two starts: nobody else takes it away ----
for try in 1 2; do
  touch one/STOP
  expect_code 73 "$retain" train tiny.yaml --set run.dir=one --set train.tokens=$endless
  grep -q 'one/STOP says that this run is not to go on: remove it' out.txt || fail "$(cat out.txt)"
  [ -e one/STOP ] || fail "STOP was deleted"
done
rm one/STOP
alone one
touch one/STOP
ends_with 75 one
grep -q 'asked to stop: the file .*one/STOP; ' one/log.txt && [ ! -e one/STOP ] || fail "STOP in a run: $(cat one/log.txt)"

# Whoever read the output goes away: the run goes on to its end, which is no failure, and log.txt says what was not written.
expect_code 0 bash -c '("$1" train tiny.yaml --set run.dir=unread --set log.every=1; echo $? >unread.code) 2>/dev/null | head -n 1; exit $(cat unread.code)' - "$retain"
grep -q 'warning: stdout: .* lost' unread/log.txt || fail "log.txt does not say it: $(cat unread/log.txt)"
[ -e unread/DONE ] || fail "a run whose output nobody reads did not finish"
echo passed
