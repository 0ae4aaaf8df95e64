# A rank that is stopped, a read or a save that hangs, a launcher that is killed: the ranks that are left name the culprit on
# stderr and end with 70 in time. A disk that is slow, and a job that is suspended and continued, go on.
. "$(dirname "$0")/common.sh"
shim=${3:-}
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 64000000, batch_tokens: 96, micro_batch_tokens: 32/; s/kind: cosine/kind: constant/; s/every: 10, keep: 10/every: 0, keep: 3/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
limit=3  # seconds: T
spare=6  # seconds, for T + 2 on a machine with other work
echo "limits: {hang_timeout: $limit}" >>tiny.yaml

now() { date +%s%N; }
since() { echo $((($(now) - $1) / 1000000)); }  # milliseconds
start() {  # RANKS RUN ARGUMENTS…: in the background, until it trains; `job` is its launcher's
  "$source_dir/launch/mpirun.sh" --program "$retain" -n "$1" train tiny.yaml --set run.dir="$2" "${@:3}" >/dev/null 2>"$2.log" &
  job=$!
  run=$2
  until_log "$run/metrics.jsonl" loss
  sleep 1  # the ranks have heard of each other's steps
}
until_log() {  # FILE PATTERN: until the run has written that
  until grep -q "$2" "$1" 2>/dev/null; do
    kill -0 "$job" 2>/dev/null || { cat "$run.log"; fail "$run ended before '$2'"; }
    sleep 0.02
  done
}
# The process of a rank: its environment tells.
rank() {
  local pid
  for pid in $(pgrep -f "^[^ ]*retain train tiny.yaml --set run.dir=$run( |\$)"); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then echo "$pid"; fi
  done
}
ended_with() {  # CODE: the launcher's
  local code=0
  wait "$job" || code=$?
  [ "$code" = "$1" ] || { cat "$run.log"; fail "$run: exit $code, want $1"; }
}
gone() { while kill -0 "$1" 2>/dev/null; do sleep 0.02; done; }
in_time() {  # WHAT MILLISECONDS
  echo "$1: $2 ms"
  [ "$2" -le $(((limit + spare) * 1000)) ] || { cat "$run.log"; fail "$1 took $2 ms"; }
}
said() { grep -qE "$1" "$run.log" || { cat "$run.log"; fail "$run: '$1' is not said"; }; }
trains_on() {  # until more steps are there
  local before
  before=$(lines "$run/metrics.jsonl")
  until [ "$(lines "$run/metrics.jsonl")" -gt $((before + 5)) ]; do
    kill -0 "$job" 2>/dev/null || { cat "$run.log"; fail "$run ended: $1"; }
    sleep 0.02
  done
}
end_well() { kill -USR1 "$(rank 0)"; ended_with 75; }

# ---- a rank that is stopped: the other names it; its own file says so too ----
start 2 stopped
culprit=$(rank 1) survivor=$(rank 0)
begin=$(now)
kill -STOP "$culprit"
gone "$survivor"
in_time "a stopped rank" "$(since "$begin")"
ended_with 70
said "rank 0 .*: rank 1 on $(hostname) \(pid $culprit\) gives no sign of life for [0-9.]+ s.*step [0-9]+"
said 'thread [0-9]+ \(retain\)'
grep -q "rank 1 on $(hostname) (pid $culprit)" stopped/log.txt || fail "log.txt: $(cat stopped/log.txt)"
grep -q '"event":"error",.*"code":"70"' stopped/events.jsonl || fail "events.jsonl: $(cat stopped/events.jsonl)"

# ---- the root of the tree is stopped; one continued in time goes on ----
start 3 root
kill -STOP "$(rank 2)"; sleep 1; kill -CONT "$(rank 2)"
trains_on "a rank that stood for a second"
culprit=$(rank 0) survivor=$(rank 2)
begin=$(now)
kill -STOP "$culprit"
gone "$survivor"
in_time "a stopped rank 0" "$(since "$begin")"
ended_with 70
for r in 1 2; do said "rank $r .*: rank 0 on $(hostname) \(pid $culprit\) gives no sign of life"; done

# ---- the whole job is suspended for longer than T and continued ----
start 2 suspended
kill -STOP $(rank 0) $(rank 1); sleep $((2 * limit)); kill -CONT $(rank 0) $(rank 1)
trains_on "suspended and continued"
sleep 1
trains_on "suspended and continued"
end_well

# ---- a rank that is killed: its launcher ends the job ----
start 2 killed
begin=$(now)
kill -9 "$(rank 1)"
ended_with 137
in_time "a killed rank" "$(since "$begin")"

# ---- mpirun is killed ----
start 2 orphans
pids="$(rank 0) $(rank 1)"
begin=$(now)
kill -9 $(cat "/proc/$job/task/$job/children")
for pid in $pids; do gone "$pid"; done
took=$(since "$begin")
echo "a killed launcher: $took ms"
[ "$took" -le 3000 ] || fail "orphans lived for $took ms"
wait "$job" 2>/dev/null || true

# ---- disks ----
if [ -z "$shim" ]; then
  echo "passed; without the tests of disks, which need a preloaded library"
  exit 0
fi

# A read that never returns.
export FAULT_CALLS=read FAULT_MODE=hang FAULT_AT=600 FAULT_RANK=1 FAULT_DIR=$work/text_train
LD_PRELOAD=$shim start 2 blocked
ended_with 70
for r in 0 1; do said "rank $r .*: rank 1 on .* hangs: no progress for [0-9.]+ s in step [0-9]+, .*waiting in reading batches"; done
said 'pread'
unset FAULT_CALLS

# A save that is slow is waited for, one at a time; one that hangs is not.
for mode in slow hang; do
  export FAULT_MODE=$mode FAULT_AT=4 FAULT_DIR=$work/$mode/checkpoints/.tmp-step-00000010
  LD_PRELOAD=$shim start 2 $mode --set checkpoint.every=10
  [ $mode = slow ] || break
  until_log slow.log 'committed step 30'
  [ "$(grep -c 'committed step 10 ' slow.log)" = 1 ] || { cat slow.log; fail "step 10"; }
  grep -q 'committed step 10 .* in [5-9]\.' slow.log || { cat slow.log; fail "the disk was not slow"; }
  end_well
done
begin=$(now)
ended_with 70
took=$(since "$begin")
echo "a save that hangs: $took ms"
[ "$took" -le $((limit * 10 * 1000 + spare * 1000)) ] || fail "a save that hangs took $took ms"
said 'rank 1 on .* hangs'
said 'writing a checkpoint|finishing a checkpoint'
echo passed
