# The three forms of retention give the same loss; generation repeats; check and list answer.
. "$(dirname "$0")/common.sh"

ranks 2 train tiny.yaml >/dev/null 2>&1
# forms FILE: the losses of the three forms, one a line
forms() {
  for mode in parallel chunkwise recurrent; do
    "$retain" eval run --data held=text_valid --mode $mode 2>/dev/null
  done | sed -E 's/.*mode=(\S+) loss=(\S+).*/\2 \1/' >"$1"
}
# agree TOLERANCE LINES FILE…: all losses, so many of them, are within that many nats of the first
agree() {
  cat "${@:3}" | awk -v tolerance="$1" -v lines="$2" \
    'NR == 1 { first = $1 } { d = $1 - first; if (d < 0) d = -d; if (d > tolerance || $1 + 0 < 1) bad = 1 } END { exit bad || NR != lines }' ||
    { cat "${@:3}"; fail "the forms disagree by more than $1"; }
}
# In float32 on the CPU; where there is a GPU, there too, in bfloat16: rounding moves a mean loss by some 1e-4.
CUDA_VISIBLE_DEVICES='' forms cpu.txt
forms device.txt
agree 1e-5 3 cpu.txt
agree 2e-3 6 cpu.txt device.txt
"$retain" eval run/checkpoints/step-00000040 --data held=text_valid --json >eval.json 2>/dev/null
grep -qE '"tokens": [0-9]{4}' eval.json || fail "eval --json: $(cat eval.json)"
"$retain" eval run --data held=text_valid --words held=500 --json >words.json 2>/dev/null
python3 - words.json <<'EOF' || fail "eval --words: $(cat words.json)"
import json, math, sys
(held,) = [s for s in json.load(open(sys.argv[1]))["sets"].values()]
assert math.isclose(held["word_perplexity"], math.exp(held["loss"] * held["tokens"] / 500), rel_tol=1e-9), held
EOF
expect_code 64 "$retain" eval run --data held=text_valid --words book=500
expect_code 64 "$retain" eval run --data held=text_valid --words held=500 --tokens 256

"$retain" generate run --prompt "abc" --max-tokens 30 --seed 4 >a.txt 2>/dev/null
"$retain" generate run --prompt "abc" --max-tokens 30 --seed 4 >b.txt 2>/dev/null
cmp a.txt b.txt || fail "the same seed gave another text"
"$retain" generate run --prompt "abc" --max-tokens 30 --seed 5 2>/dev/null | cmp -s - a.txt && fail "another seed gave the same text"

"$retain" checkpoint list run | grep -q 'step=40 tokens=10240' || fail "checkpoint list"
cp -r run "a run"
"$retain" checkpoint list "a run" | grep -q ' path="a run/checkpoints/step-00000040"$' || fail "a path with blanks is no word"
for model in fla-tiny torchscale-tiny; do
  "$retain" checkpoint check "$source_dir/tests/trainer/interop/golden/$model" --device cpu | tail -n 1 | grep -q ' 0 beyond' || fail "$model"
done
"$retain" plan tiny.yaml --json >plan.json
grep -qE '"parameters": [0-9]{5}' plan.json || fail "plan --json: $(cat plan.json)"
echo passed
