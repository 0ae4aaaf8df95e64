# Looking at checkpoints while a run goes on; beginning with other weights; going on with other data; which checkpoints
# are kept.
. "$(dirname "$0")/common.sh"
# Steps of few tokens: what counts here are checkpoints.
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 2560, batch_tokens: 64, micro_batch_tokens: 32/; s/tokens: 512/tokens: 128/' tiny.yaml
json() { python3 -c "import json,sys; d=json.load(open('$1')); sys.exit(not ($2))" || { cat "$1"; fail "$1: $2"; }; }
step() { echo "$1/checkpoints/step-000000$2"; }

# ---- verify, digest and list, again and again while a run saves every step and deletes old ones ----
(code=0; ranks 2 train tiny.yaml --set run.dir=busy --set train.tokens=6400000 --set checkpoint.every=1 --set checkpoint.keep=2 >/dev/null 2>busy.log || code=$?; echo $code >busy.code) &
saves_after() {  # STEP: until another step is the newest
  until [ "$(cat busy/checkpoints/latest 2>/dev/null)" != "$1" ]; do
    [ ! -e busy.code ] || { cat busy.log; fail "the busy run ended with $(cat busy.code)"; }
    sleep 0.02
  done
}
saves_after ""
for look in 1 2 3; do
  seen=$(cat busy/checkpoints/latest)
  "$retain" checkpoint verify busy >out.txt 2>&1 || { cat out.txt; fail "verify of a run that goes on"; }
  "$retain" checkpoint digest busy >out.txt 2>&1 || { cat out.txt; fail "digest of a run that goes on"; }
  "$retain" checkpoint list busy --json >out.txt 2>&1 || { cat out.txt; fail "list of a run that goes on"; }
  json out.txt 'd["checkpoints"] and all(c["problem"] == "" for c in d["checkpoints"])'
  saves_after "$seen"
done
touch busy/STOP
wait
[ "$(cat busy.code)" = 75 ] || { cat busy.log; fail "the busy run ended with $(cat busy.code)"; }

"$retain" train tiny.yaml --set run.dir=one >/dev/null 2>&1
"$retain" checkpoint verify one --json >out.txt
json out.txt 'd["damaged"] == 0 and [c["step"] for c in d["checkpoints"]] == [40, 30, 20, 10]'
"$retain" checkpoint digest one --json >digest.json
json digest.json 'd["step"] == 40 and len(d["digest"]) == 16 and d["tensors"][0]["global_shape"] and len(d["tensors"][0]["master"]) == 16'
digest_of_one=$(digest one)
[ "$digest_of_one" = "$(digest "$(step one 40)")" ] || fail "the newest step is meant by a run"
[ "$(digest one)" != "$(digest "$(step one 30)")" ] || fail "two steps have one digest"
expect_code 0 "$retain" checkpoint diff one "$(step one 40)"
expect_code 65 "$retain" checkpoint diff "$(step one 30)" "$(step one 40)" --json
json out.txt 'not d["equal"] and "step: 30, 40" in d["keys"] and any(t["elements"] > 0 and t["relative"] > 0 for t in d["tensors"])'
expect_code 66 "$retain" checkpoint verify nowhere
cp -r one broken
printf x | dd of="$(step broken 20)/shard-00000-of-00001.h5" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect_code 65 "$retain" checkpoint verify broken
grep -q 'DAMAGED step=20' out.txt && grep -q 'step-00000020/shard-00000-of-00001.h5: bytes 0 to' out.txt || fail "$(cat out.txt)"
expect_code 65 "$retain" checkpoint digest "$(step broken 20)"

# ---- the weights of another run: step 0 of a new run, with the losses of the old one's next step but fresh moments ----
"$retain" train tiny.yaml --set run.dir=warm --init-from one --set train.tokens=640 --set run.seed=5 --set model.init_std=0.2 >/dev/null 2>warm.log
[ "$(losses warm | head -1 | cut -d' ' -f1)" = 1 ] || fail "--init-from does not begin at step 1"
paste <(losses warm | sed -n 1p) <(losses one | sed -n 1p) | awk '{ exit !($2 < 0.9 * $4) }' || fail "a run with trained weights begins with $(losses warm | head -1)"
before=$(digest warm)
"$retain" train tiny.yaml --set run.dir=warm --init-from one --set train.tokens=640 --set run.seed=5 --set model.init_std=0.2 >/dev/null 2>&1
[ "$before" = "$(digest warm)" ] || fail "the same command again began anew"
ranks 2 train tiny.yaml --set run.dir=warm2 --set parallel.tp=2 --init-from one --set train.tokens=640 --set run.seed=5 --set model.init_std=0.2 >/dev/null 2>&1
paste <(losses warm | head -5) <(losses warm2 | head -5) | awk '{ d = $2 - $4; exit (d < 0 ? -d : d) > 1e-3 }' || fail "--init-from on two ranks differs"
expect_code 65 "$retain" train tiny.yaml --set run.dir=other --init-from one --set model.ffn_size=64 --set model.layers=1
grep -q 'model.ffn_size' out.txt && grep -q 'model.layers' out.txt || fail "changed keys are not named: $(cat out.txt)"
expect_code 66 "$retain" train tiny.yaml --set run.dir=other --init-from nowhere

# ---- other data in the middle: refused, unless it is asked for ----
sed 's/^data: .*/data: {tokenizer: bytes, train: [{path: text_valid}], valid: {held: text_valid}, seq_len: 32}/; s/tokens: 2560/tokens: 2880/' tiny.yaml >changed.yaml
expect_code 65 "$retain" train changed.yaml --set run.dir=one
grep -q 'data.contents' out.txt || fail "the changed data is not named: $(cat out.txt)"
expect_code 65 "$retain" train changed.yaml --set run.dir=one --allow-changed run.seed
expect_code 0 "$retain" train changed.yaml --set run.dir=one --allow-changed data.contents
grep -q 'from step 40 on data.contents was [0-9a-f]* and is [0-9a-f]*$' one/log.txt || fail "the change is not in the log"
grep -q '"step":40,"event":"changed","from":' one/events.jsonl || fail "the change is not in events.jsonl"
expect_code 0 "$retain" train changed.yaml --set run.dir=one

# ---- keep, keep_every, keep_best ----
"$retain" train tiny.yaml --set run.dir=kept --set eval.every=10 --set checkpoint.keep=2 --set checkpoint.keep_best=1 \
  --set optimizer.lr=3 --set optimizer.clip=0 --set schedule.kind=constant >/dev/null 2>&1
"$retain" checkpoint list kept --json >out.txt
best=$(grep -o '"step":[0-9]*,"valid/held/loss":[0-9.]*' kept/metrics.jsonl | sed -E 's/[^0-9]*([0-9]+)[^0-9]*([0-9.]+)/\2 \1/' | sort -g | head -1 | cut -d' ' -f2)
json out.txt "sorted(c['step'] for c in d['checkpoints']) == sorted({30, 40, $best})"

# ---- a save that is not in the background gives the same checkpoints ----
"$retain" train tiny.yaml --set run.dir=sync --set checkpoint.async=false >/dev/null 2>&1
[ "$(digest sync)" = "$digest_of_one" ] || fail "async and sync saves differ"
grep -q '"step":40,"event":"checkpoint","bytes":"[0-9]*","copy_seconds":"[0-9.]*","seconds":"[0-9.]*","stall_seconds":"[0-9.]*"' sync/events.jsonl || fail "$(cat sync/events.jsonl)"
echo passed
