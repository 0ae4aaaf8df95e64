# Neither the clock of the machine, nor its jumps, nor time zone or locale have a part in what a run computes, saves and says,
# but for the times in it.
. "$(dirname "$0")/common.sh"
sed -i 's/every: 10, keep: 10/every: 10, keep: 2/' tiny.yaml

# traces RUN: all files of its checkpoints; its metrics, events and log without times
traces() {
  (cd run/checkpoints && sha256sum step-*/*) >$1.checkpoints
  sed -E 's/"(tokens_per_second|step_seconds|data_share|time)":[^,}]*,?//g' run/metrics.jsonl >$1.metrics
  sed -E 's/"(time|seconds|copy_seconds|stall_seconds)":"?[^,}]*"?,?//g' run/events.jsonl | grep -v '"event":"started"' >$1.events
  sed -E 's/^.{23} [+-][0-9]{4} //; s/[0-9.]+ s\b/S/g; /the start took/d' run/log.txt >$1.log
  mv run run.$1
}
# same NAME COMMAND…: leaves the same as the first run did
same() {
  local name=$1
  shift
  expect_code 0 "$@" "$retain" train tiny.yaml
  traces $name
  for kind in checkpoints metrics events log; do
    diff first.$kind $name.$kind || fail "$name: other $kind"
  done
}
expect_code 0 "$retain" train tiny.yaml
traces first

for locale in de_DE.UTF-8 tr_TR.UTF-8 C; do same "locale-$locale" env LC_ALL=$locale LANG=$locale; done
same zone env TZ=Pacific/Apia
grep -qE '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3} \+1[34]00 info: ' run.zone/log.txt || fail "no zone: $(head -n 3 run.zone/log.txt)"

faketime=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | head -n 1 || true)
if [ -z "$faketime" ]; then
  echo "skipped the rest: no libfaketime (Debian package faketime)"
  exit 77
fi
# Files keep their stamps when a clock jumps.
fake="env LD_PRELOAD=$faketime FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 FAKETIME_DONT_RESET=1 NO_FAKE_STAT=1"
same past $fake FAKETIME=-2y
grep -q "^$(($(date +%Y) - 2))-" run.past/log.txt || fail "the test is wrong: the clock is the real one: $(head -n 1 run.past/log.txt)"

# The clock jumps to and fro by days, all the time; nothing that waits does so longer, and nothing ends because of it.
echo +0 >jumps
(while :; do for jump in +3d -2d -2y +1h; do echo $jump >jumps.new && mv jumps.new jumps; sleep 0.05; done; done) &
jumper=$!
begin=$SECONDS
same jumps $fake FAKETIME_TIMESTAMP_FILE="$work/jumps"
[ $((SECONDS - begin)) -lt 60 ] || fail "jumps of the clock cost $((SECONDS - begin)) s"
# The limit of wall time is of time that goes by.
expect_code 75 $fake FAKETIME_TIMESTAMP_FILE="$work/jumps" "$retain" train tiny.yaml --set run.dir=limited --set train.tokens=64M --set limits.wall_time=14s
[ "$(grep -o '"steps_of_start":"[0-9]*"' limited/events.jsonl | tr -dc 0-9)" -gt 20 ] || fail "$(cat limited/log.txt)"
kill $jumper
echo passed
