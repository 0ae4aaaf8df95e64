#!/usr/bin/env bash
# The speed of the demo's training, of two ranks and of one rank's threads, on the machine as it is and beside one and two
# busy loops for each processor that this process may use, by turns. Wanted: at least 40 and 25 % of the quiet speed.
#   tests/bench/busy_machine.sh [PROGRAM [ROUNDS [STEPS]]]        build/cpu/bin/retain, 3 rounds of 64 steps
# All run in one session: between sessions Linux shares a processor by session, however many programs each has.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
program=$(readlink -f "${1:-$root/build/cpu/bin/retain}")
rounds=${2:-3}
steps=${3:-64}
work=$(mktemp -d)
loops=()
stop_loops() { [ ${#loops[@]} -eq 0 ] || kill "${loops[@]}"; loops=(); }
trap 'rm -rf "$work"' EXIT
cd "$work"

bible -f gen1:1-deu34:12 >text.txt
"$program" data prepare text.txt --out text --holdout 0.05 >/dev/null 2>&1

# speed RANKS LOOPS: tokens a second, without the first step (in a shell of its own)
speed() {
  local i
  trap stop_loops EXIT
  for ((i = 0; i < $2; i++)); do (while :; do :; done) & loops+=($!); done
  rm -rf run
  "$root/launch/mpirun.sh" --program "$program" -n "$1" train "$root/configs/demo.yaml" --set run.dir=run \
    --set 'data.train=[{path: text_train}]' --set 'data.valid={book: text_valid}' --set train.tokens=$((steps * 2048)) \
    --set schedule.warmup=10 --set eval.every=1000000 --set checkpoint.every=1000000 >out.txt 2>&1 || { cat out.txt >&2; exit 1; }
  sed -nE 's/.*"step":([0-9]+),.*"step_seconds":([0-9.e-]+).*/\1 \2/p' run/metrics.jsonl |
    awk '$1 > 1 { seconds += $2; n++ } END { printf "%.0f\n", n * 2048 / seconds }'
}

processors=$(nproc)
echo "$("$program" --version), $processors processors, load $(cut -d' ' -f1-3 /proc/loadavg) before"
for ranks in 2 1; do
  for ((round = 1; round <= rounds; round++)); do
    quiet=$(speed $ranks 0)
    one=$(speed $ranks "$processors")
    two=$(speed $ranks $((2 * processors)))
    awk -v ranks=$ranks -v q="$quiet" -v one="$one" -v two="$two" 'BEGIN {
      printf "%d rank(s): quiet %d tokens/s, one busy loop a processor %d (%.0f %%), two %d (%.0f %%)\n", ranks, q, one, 100 * one / q, two, 100 * two / q }'
  done
done
