# From a text to the report with its figures by the commands of trainer/study/README.md, the runner killed in the middle and
# started again: configs/study_demo.yaml with a hundredth of its FLOPs, in seconds; RETAIN_STUDY=demo takes it as it is.
. "$(dirname "$0")/common.sh"
command -v gnuplot >/dev/null || { echo "skipped: there is no gnuplot"; exit 77; }
mkdir configs
if [ "${RETAIN_STUDY:-small}" = demo ]; then
  command -v bible >/dev/null || { echo "skipped: there is no text of four megabytes (Debian: bible-kjv)"; exit 77; }
  bible -f gen1:1-rev22:21 >book.txt
  cp "$source_dir/configs/study_demo.yaml" configs
else
  mv text.txt book.txt
  sed -E 's/(flops: [0-9.]+)e11/\1e9/; s/(flops: [0-9.]+)e12/\1e10/; s/batch_tokens: 2Ki/batch_tokens: 512/
    s/eval: .*/eval: {every: 0, tokens: 2Ki}/; s/warmup_tokens: .*/warmup_tokens: 3Ki/' \
    "$source_dir/configs/study_demo.yaml" >configs/study_demo.yaml
fi
study=studies/demo
"$retain" data prepare book.txt --out $study/data/text --tokenizer bytes --holdout 5% 2>/dev/null
expect_code 0 "$retain" study plan configs/study_demo.yaml
grep -q '^9 cells in 18 runs' out.txt || fail "$(cat out.txt)"

begin=$SECONDS
(exec "$retain" study run $study >killed.log 2>&1) &
queue=$!
until compgen -G "$study/cells/42k-c*/DONE" >/dev/null; do
  kill -0 $queue 2>/dev/null || { cat killed.log; fail "the queue ended by itself"; }
  sleep 0.05
done
kill -9 $queue
wait $queue 2>/dev/null || true
"$retain" study status $study >out.txt
grep -qE '^9 cells: [1-8] done' out.txt || fail "killed too late: $(cat out.txt)"
"$retain" study run $study >out.txt 2>run.log || { cat run.log; fail "the rerun"; }
grep -q '^9 cells: 9 done' out.txt || fail "$(cat out.txt)"
echo "trained in $((SECONDS - begin)) s"

expect_code 0 "$retain" study collect $study --out $study/runs.csv
expect_code 0 "$retain" study fit $study/runs.csv
python3 - <<'END' || fail "fit.json"
import json
fit = json.load(open("studies/demo/fit.json"))
assert fit["n"] == 9 and len(fit["budgets"]) == 3 and all(budget["runs"] == 3 for budget in fit["budgets"]), fit["budgets"]
END
expect_code 0 "$retain" study plot $study/runs.csv $study/fit.json
! grep -qi warning out.txt || fail "gnuplot: $(cat out.txt)"
"$retain" study report $study >$study/report.md
for figure in isoflop optimal_params optimal_tokens contours residuals bootstrap compute; do
  grep -q "(figures/$figure.svg)" $study/report.md || fail "the report lacks $figure"
  grep -q '</svg>' $study/figures/$figure.svg && [ -s $study/figures/$figure.png ] || fail "no figure $figure"
done
echo passed
