# The launcher's script trains in layouts of 2 and 4 ranks, and all of them give the losses of one rank.
. "$(dirname "$0")/common.sh"

"$retain" train tiny.yaml --set run.dir=one --set train.tokens=5120 --set optimizer.lr=6e-4 --set schedule.warmup=19 >/dev/null 2>&1
for layout in "2 1 1" "1 2 1" "1 1 2" "2 2 1" "2 1 2" "1 2 2" "1 1 4"; do
  read -r dp cp tp <<<"$layout"
  run=run-$dp-$cp-$tp
  ranks $((dp * cp * tp)) train tiny.yaml --set run.dir=$run --set train.tokens=5120 --set optimizer.lr=6e-4 --set schedule.warmup=19 \
    --set parallel.dp=$dp --set parallel.cp=$cp --set parallel.tp=$tp >/dev/null 2>$run.log || { cat $run.log; fail "$layout"; }
  paste <(losses one) <(losses $run) | awk '{ d = $2 - $4; if (d < 0) d = -d; if ($1 != $3 || d > 1e-4) bad = 1 } END { exit bad || NR != 20 }' ||
    { paste <(losses one) <(losses $run); fail "dp=$dp cp=$cp tp=$tp does not follow one rank"; }
done
echo passed
