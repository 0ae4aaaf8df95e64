# What chooses a recipe, on tiny models: tests/bench/recipe.py from runs to a table, in parts; retain study width with its
# verdict and figure; and a run with all of the keys, resumed and evaluated.
. "$(dirname "$0")/common.sh"

recipe=$source_dir/tests/bench/recipe.py
part() { python3 "$recipe" "$retain" text_train text_valid table.csv --size tiny --steps 12 --jobs 2 --seeds 1,2 "$@" >report.txt 2>said.txt; }
trained() { grep -c ' seed .* in ' said.txt || true; }

part --only default --seconds 0 || fail "a call without time"
[ "$(trained)" = 0 ] || fail "it trained without time"
part --only default --only init=depth_scaled+end_token_before_windows || { cat said.txt; fail "the first part"; }
[ "$(trained)" = 4 ] || { cat said.txt; fail "want four runs"; }
part --only default --only init=depth_scaled+end_token_before_windows
[ "$(trained)" = 0 ] || fail "it trained what is there"
sed -i '$d' table.csv
part --only default --only init=depth_scaled+end_token_before_windows
[ "$(trained)" = 1 ] || fail "want what was lacking alone"
[ "$(wc -l <table.csv)" = 5 ] || { cat table.csv; fail "want a row for each run"; }
grep -qE '^\| init=depth_scaled\+end_token_before_windows \| 2 \| [0-9.]+ ± [0-9.]+ \| [-+][0-9.]+ ± [0-9.]+ \|' report.txt ||
  { cat report.txt; fail "no line with intervals"; }
part --size w128 --only optimizer.lr=1e-3+model.base_width=64 --dry-run && grep -q '2 runs are lacking' said.txt || fail "a key as a variant"
expect_code 1 python3 "$recipe" "$retain" text_train text_valid table.csv --size tiny --only bogus
grep -q "no variant 'bogus'" out.txt || fail "a variant that there is not"

expect_code 78 "$retain" study width tiny.yaml --widths 16,32,64 --steps 4 --set optimizer.lr=0.01 --out figures
grep -q '^FAIL: the change of ' out.txt || { cat out.txt; fail "no verdict"; }
[ -s figures/width_check.gnuplot ] && [ -s figures/width_check.txt ] || fail "no figure"
"$retain" study width tiny.yaml --widths 32,64,128 --steps 4 --set optimizer.lr=0.01 --set model.base_width=32 --json >width.json 2>/dev/null ||
  { cat width.json; fail "widths with a base"; }
python3 -c 'import json; d = json.load(open("width.json")); assert d["holds"] and d["base_width"] == 32 and len(d["rows"]) > 10'

keys=(--set precision=fp64 --set model.head_norm_eps=1e-3 --set model.init=depth_scaled --set model.base_width=16 --set data.end_token_before_windows=true)
"$retain" train tiny.yaml "${keys[@]}" --set run.dir=whole --set train.tokens=5120 >/dev/null 2>&1
ranks 2 train tiny.yaml "${keys[@]}" --set run.dir=two --set train.tokens=5120 --set parallel.tp=2 >/dev/null 2>&1
losses_near whole two 1e-9
cp -r whole parts
rm -rf parts/checkpoints/step-00000020 parts/DONE
"$retain" train tiny.yaml "${keys[@]}" --set run.dir=parts --set train.tokens=5120 >/dev/null 2>&1
[ "$(digest parts)" = "$(digest whole)" ] || fail "a resume came to other weights"
expect_code 65 "$retain" train tiny.yaml "${keys[@]}" --set run.dir=parts --set model.head_norm_eps=auto
grep -q 'model.head_norm_eps: the checkpoint has 0.001, this run has auto' out.txt || { cat out.txt; fail "another epsilon"; }
for mode in parallel chunkwise recurrent; do "$retain" eval whole --data held=text_valid --mode $mode; done 2>/dev/null |
  sed -E 's/mode=[a-z]+ //; s/loss=([0-9]+\.[0-9]{3})[0-9]*.*/loss=\1/' | sort -u >modes.txt
[ "$(wc -l <modes.txt)" = 1 ] || { cat modes.txt; fail "the forms of retention differ"; }
