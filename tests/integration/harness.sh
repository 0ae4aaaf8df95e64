# lm-evaluation-harness, of the Python that $RETAIN_PYTHON names, runs tasks that are defined on local files against a server:
# multiple choice and perplexity. Their scores are those of `retain eval`.
. "$(dirname "$0")/common.sh"
export CUDA_VISIBLE_DEVICES='' HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME=$PWD/hf
python=${RETAIN_PYTHON:-python3}
"$python" -c 'import lm_eval, aiohttp' 2>/dev/null || { echo "$python has no lm_eval (pip install 'lm-eval[api]')"; exit 77; }
if "$retain" serve nowhere --port 0 2>&1 | grep -q 'no HTTP library'; then
  echo "this build has no HTTP library"
  exit 77
fi
"$retain" train tiny.yaml >/dev/null 2>&1 || fail train
"$python" - <<'END_OF_PYTHON'
import json, random
draw = random.Random(3)
text = open("text.txt").read()
def piece(least, most):
    begin = draw.randrange(len(text) - most)
    return text[begin:begin + draw.randint(least, most)]
with open("choices.jsonl", "w") as out:
    for i in range(40):
        choices = [piece(2, 30).strip() + draw.choice(["", "é", "€"]) for _ in range(4)]
        print(json.dumps({"context": piece(5, 80).strip() if i else "", "choices": choices, "label": draw.randrange(4)}), file=out)
with open("texts.jsonl", "w") as out:
    for i in range(3):
        print(json.dumps({"text": piece(200, 900)}), file=out)
END_OF_PYTHON
mkdir tasks
cat >tasks/choices.yaml <<'END_OF_YAML'
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}]
END_OF_YAML
cat >tasks/texts.yaml <<'END_OF_YAML'
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: byte_perplexity}, {metric: word_perplexity}]
END_OF_YAML

: >url.txt
"$retain" serve run --port 0 >url.txt 2>serve.log &
for ((i = 0; i < 400 && $(wc -c <url.txt) == 0; i++)); do sleep 0.05; done
"$python" -m lm_eval run --model local-completions --tasks choices,texts --include_path tasks --batch_size 8 --output_path out \
  --model_args "model=run,base_url=$(cat url.txt)/v1/completions" >harness.log 2>&1 || { tail -n 40 harness.log; cat serve.log; fail "the harness"; }
"$retain" eval run --choices choices.jsonl --documents texts.jsonl --json >eval.json 2>eval.log || fail "$(cat eval.log)"
"$python" - <<'END_OF_PYTHON' || fail "scores differ"
import glob, json, math
theirs = json.load(open(glob.glob("out/**/results*.json", recursive=True)[0]))["results"]
mine = json.load(open("eval.json"))
mine = {"choices": mine["choices"]["choices.jsonl"], "texts": mine["documents"]["texts.jsonl"]}
for task, metric in [("choices", "acc"), ("choices", "acc_norm"), ("choices", "acc_stderr"), ("texts", "bits_per_byte"),
                     ("texts", "byte_perplexity"), ("texts", "word_perplexity")]:
    score, want = theirs[task][metric + ",none"], mine[task][metric]
    print(f"{task} {metric}: {score:.6f}, by eval {want:.6f}")
    assert math.isclose(score, want, rel_tol=1e-3), (task, metric)
END_OF_PYTHON
echo passed
