# The three forms of retention give the same loss, in every layout, and of tasks too; generation repeats; check and list
# answer.
. "$(dirname "$0")/common.sh"

ranks 2 train tiny.yaml --set eval.recurrent_every=40 --set parallel.cp=2 >/dev/null 2>&1
python3 - <<'EOF' || fail "the recurrent form was not compared once, or is another function: $(grep recurrent run/metrics.jsonl)"
import json
(line,) = [m for m in map(json.loads, open("run/metrics.jsonl")) if "valid/held/recurrent_difference" in m]
assert line["step"] == 40 and abs(line["valid/held/recurrent_difference"]) < 1e-4, line
EOF
expect_code 78 "$retain" train tiny.yaml --set run.dir=other --set eval.recurrent_every=30
grep -qF 'is no multiple of eval.every = 20 (' out.txt || fail "$(cat out.txt)"
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

# ---- longer windows, tasks, and every layout ----
cat >questions.jsonl <<'EOF'
{"context": "abc def", "choices": ["ghij", "xyz q"], "label": 0}
{"context": "", "choices": ["one", "two", "three"], "label": 2}
{"activity_label": "Baking", "ctx_a": "A cook bakes.", "ctx_b": "he", "endings": ["eats.", "sings [title] it.", "a", "b"], "label": 0}
{"goal": "abc", "sol1": "bcd", "sol2": "efgh", "label": 1}
{"question": {"stem": "Why?", "choices": [{"text": "So", "label": "A"}, {"text": "No", "label": "B"}]}, "answerKey": "B"}
EOF
printf '%s\n' '{"text": "abc bcd cdef"}' '{"text": "kl mn"}' >words.jsonl
all="--choices questions.jsonl --last-words words.jsonl --documents words.jsonl --data held=text_valid --data train=text_train --tokens 4Ki"
(
  export CUDA_VISIBLE_DEVICES=''  # four ranks would want four GPUs
  while read -r ranks mode layout; do
    ranks "$ranks" eval run $all $layout --context 512 --stride 256 --mode "$mode" --json >>layouts.json 2>/dev/null </dev/null
  done <<'END'
1 chunkwise
1 recurrent
1 parallel
2 chunkwise --tp 2
2 recurrent --cp 2
4 parallel --tp 2
3 recurrent
END
)
python3 - layouts.json <<'EOF' || fail "layouts or forms evaluate to something else: $(cat layouts.json)"
import json, math, sys
text, at, results = open(sys.argv[1]).read(), 0, []
while text[at:].strip():
    result, at = json.JSONDecoder().raw_decode(text, at)
    at += len(text[at:]) - len(text[at:].lstrip())
    results.append(result)
one = results[0]
assert len(results) == 7 and one["context"] == 512 and one["stride"] == 256 and one["ranks"] == 1, one
assert len(one["sets"]["held"]["loss_by_position"]) == 10  # … 256 to 511, sixteen times the training length
task = one["choices"]["questions.jsonl"]
assert task["questions"] == 5 and 0 <= task["acc"] <= 1, task
assert math.isclose(task["acc_stderr"], math.sqrt(task["acc"] * (1 - task["acc"]) / 4), abs_tol=1e-9), task
documents = one["documents"]["words.jsonl"]
assert (documents["words"], documents["bytes"], documents["tokens"]) == (5, 17, 17), documents
def same(a, b, what):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), what
        for key in a: same(a[key], b[key], f"{what}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), what
        for i, (x, y) in enumerate(zip(a, b)): same(x, y, f"{what}[{i}]")
    else:
        exp = "stderr" in what or "perplexity" in what
        assert math.isclose(a, b, rel_tol=1e-3 if exp else 1e-4), (what, a, b)
for result in results[1:]:
    for key in ["sets", "choices", "last_words", "documents"]: same(one[key], result[key], key)
EOF
"$retain" eval run --data held=text_valid --context 1Gi 2>/dev/null | grep -q ' tokens=' || fail "a window longer than the set"
head -n 1 questions.jsonl >one.jsonl
"$retain" eval run --choices one.jsonl >one.txt 2>/dev/null
grep -q ' acc_stderr=nan ' one.txt || fail "the error of one answer: $(cat one.txt)"
# refused CODE TEXT ARGUMENTS…: one rank and two say the same
refused() {
  expect_code "$1" "$retain" eval run "${@:3}"
  grep -qF -- "$2" out.txt || fail "$(cat out.txt), want: $2"
  CUDA_VISIBLE_DEVICES='' expect_code "$1" ranks 2 eval run "${@:3}"
  [ "$(grep -cF -- "$2" out.txt)" = 1 ] || fail "two ranks: $(cat out.txt), want once: $2"
}
{ head -n 1 questions.jsonl; echo '{"context": "a", "choices": ["b", "c"], "label": 7}'; } >bad.jsonl
refused 65 'bad.jsonl:2: label: found 7, want a whole number from 0 to 1' --choices bad.jsonl
printf '{"text": "caf\xe9 au"}\n' >latin.jsonl
refused 65 'latin.jsonl:1: byte 14 (0xe9) is not UTF-8; iconv' --last-words latin.jsonl
printf '{"text": ""}\n' >empty.jsonl
refused 65 'empty.jsonl: its texts are all empty' --documents empty.jsonl
refused 66 'none.jsonl: cannot open' --documents none.jsonl
refused 64 '--stride: 33 tokens apart, windows of 32 tokens leave some out' --data held=text_valid --stride 33
expect_code 64 ranks 2 eval run --data held=text_valid --tp 3
grep -qF -- 'does not divide the 2 ranks' out.txt || fail "--tp: $(cat out.txt)"
CUDA_VISIBLE_DEVICES='' expect_code 64 ranks 3 eval run --data held=text_valid --tp 3
grep -qF -- '--tp: 3 ranks cannot share this model (legal: 1, 2, 4)' out.txt || fail "--tp: $(cat out.txt)"

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
