# The launcher's script trains in layouts of 2 to 4 ranks, and all of them give the losses of one rank.
. "$(dirname "$0")/common.sh"

"$retain" train tiny.yaml --set run.dir=one --set train.tokens=5120 --set optimizer.lr=6e-4 --set schedule.warmup=19 >/dev/null 2>&1
for layout in "2 1 1" "1 2 1" "1 1 2" "2 2 1" "2 1 2" "1 2 2" "1 1 4" "3 1 1"; do
  read -r dp cp tp <<<"$layout"
  run=run-$dp-$cp-$tp
  ranks $((dp * cp * tp)) train tiny.yaml --set run.dir=$run --set train.tokens=5120 --set optimizer.lr=6e-4 --set schedule.warmup=19 \
    --set parallel.dp=$dp --set parallel.cp=$cp --set parallel.tp=$tp >/dev/null 2>$run.log || { cat $run.log; fail "$layout"; }
  paste <(losses one) <(losses $run) | awk '{ d = $2 - $4; if (d < 0) d = -d; if ($1 != $3 || d > 1e-4) bad = 1 } END { exit bad || NR != 20 }' ||
    { paste <(losses one) <(losses $run); fail "dp=$dp cp=$cp tp=$tp does not follow one rank"; }
done
# Under a launcher a plan is one plan, with the map of the ranks, and says what an uneven number of replicas costs.
ranks 3 plan tiny.yaml >plan.txt 2>plan.log || { cat plan.log; fail "plan on 3 ranks"; }
grep -q "^dealt  .*4 micro-batches over 3 replicas: 2 + 1 + 1, 33 % of the time idle (none with train.batch_tokens: 192 or 384)" plan.txt &&
  grep -q "^legal tp  *1, 2, 4 " plan.txt && [ "$(grep -c '^  ranks on 1 machine; within a machine: dp$' plan.txt)" = 1 ] &&
  grep -q "^  $(hostname): ranks 0-2: dp 0-2$" plan.txt || { cat plan.txt; fail "the plan on 3 ranks"; }
grep -q "$(hostname): ranks 0-2: dp 0-2" run-3-1-1/log.txt || fail "a run does not begin with its map"
expect_code 78 ranks 2 plan tiny.yaml --set parallel.tp=3
[ "$(grep -c 'legal: 1, 2, 4' out.txt)" = 1 ] || { cat out.txt; fail "a refused plan is refused once"; }
echo passed
