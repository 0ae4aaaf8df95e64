# What a run that goes on has changed is said, key by key; what may change does; what a resume refuses leaves no trace.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256/tokens: 2560, batch_tokens: 128/; s/eval: {every: 20, tokens: 512}/eval: {every: 0}/; s/warmup: 5/warmup: 2/' tiny.yaml
says() { grep -qF -- "$2" "$1" || { cat "$1"; fail "not said: $2"; }; }
keys() { grep '"changed"' "$1/events.jsonl" | sed -E 's/.*"key":"([^"]*)".*/\1/' | sort | tr '\n' ' '; }
rate() { grep "\"step\":$2,.*\"lr\"" "$1/metrics.jsonl" | tail -n 1 | sed -E 's/.*"lr":([^,]*),.*/\1/'; }
"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1
for copy in same run wider longer refused; do
  cp -r whole $copy
  rm -r $copy/checkpoints/step-00000020
done

# ---- nothing changed but the directory ----
"$retain" train tiny.yaml --set run.dir=same >/dev/null 2>&1
[ "$(keys same)" = "run.dir " ] || fail "changed: $(keys same)"
diff <(losses whole) <(losses same) || fail "a resume changes losses"
if grep 'learning rate' same/log.txt || ls same/*-2.yaml 2>/dev/null; then fail "more is said than changed"; fi

# ---- what is refused changes no file of a run that is finished ----
sums() { (cd "$1" && find . -type f ! -name LOCK -exec sha256sum {} + | sort -k 2); }
cp -r whole untouched
sums untouched >before.txt
expect_code 65 "$retain" train tiny.yaml --set run.dir=untouched --set run.seed=8
sums untouched | diff before.txt - || fail "a refused resume leaves marks in a finished run"
printf 'retain: one\n  two\n' >untouched/FAILED
touch untouched/STOP
sums untouched >before.txt
expect_code 65 "$retain" train tiny.yaml --set run.dir=untouched --set run.seed=8
sums untouched | diff before.txt - || fail "a refused resume leaves marks in a failed run"
expect_code 0 "$retain" train tiny.yaml --set run.dir=untouched
says out.txt 'the start before this one failed: retain: one; two'
[ ! -e untouched/FAILED ] && [ ! -e untouched/STOP ] || fail "older marks are left"

# ---- a finished run has nothing to change: no values, no files, no room for a checkpoint ----
checked() (ulimit -f 64 && "$retain" train tiny.yaml "$@")  # of 1 KiB: a shard is larger
of_others() { sums "$1" | grep -v ' ./log.txt$'; }
of_others untouched >before.txt
expect_code 0 checked --set run.dir=untouched --set optimizer.lr=1e-2
says out.txt 'this run is finished (20 of 20 steps): nothing to train; raise train.tokens'
of_others untouched | diff before.txt - || fail "a finished run is written as if it had been trained with other values"
expect_code 0 checked --set run.dir=untouched --set train.tokens=1280
says out.txt '20 steps are done, more than the 10 that train.tokens asks for: nothing to train; raise train.tokens'
! grep -q 'learning rate jumps' out.txt || fail "a rate of which no step is made is told"
of_others untouched | diff before.txt - || fail "fewer tokens change a finished run"
rm untouched/DONE
sed -i '$d' untouched/events.jsonl
expect_code 0 ranks 2 train tiny.yaml --set run.dir=untouched
[ -e untouched/DONE ] || fail "what was killed before it could say so is not done"
mv untouched/checkpoints elsewhere
ln -s ../elsewhere untouched/checkpoints
expect_code 73 "$retain" train tiny.yaml --set run.dir=untouched

# ---- begun anew, the older values held until the newest step that is set aside ----
cp -r whole anew
expect_code 0 "$retain" train tiny.yaml --set run.dir=anew --set optimizer.lr=1e-2 --resume never
grep -q 'lr: 0.003 ' anew/resolved-until-step-00000020.yaml || fail "the older values are kept as $(ls anew | grep until)"

# ---- every key, both values, the older ones kept, and the jump of the learning rate ----
"$retain" train tiny.yaml --set optimizer.lr=1e-2 --set 'optimizer.betas=[0.5, 0.6]' --set optimizer.weight_decay=0 \
  --set optimizer.clip=0 --set schedule.kind=constant --set train.tokens=5120 >/dev/null 2>out.txt
[ "$(keys run)" = "optimizer.betas optimizer.clip optimizer.lr optimizer.weight_decay run.dir schedule.kind train.tokens " ] || fail "changed: $(keys run)"
says out.txt 'from step 10 on optimizer.betas was [0.9, 0.98] and is [0.5, 0.6]'
grep -q '"step":10,"event":"changed","from":"0.003","key":"optimizer.lr","to":"0.01"' run/events.jsonl || { cat run/events.jsonl; fail "no event"; }
says out.txt "from step 10 on the learning rate jumps from 1.8"
says out.txt "to 1.000e-02; to avoid it: optimizer.lr = 0.0018"
says out.txt "or as before: optimizer.lr = 0.003, schedule.kind = cosine, train.tokens = 2560"
grep -q 'lr: 0.003 ' run/resolved-until-step-00000010.yaml || fail "the older resolved.yaml is not kept"
grep -q 'lr: 0.01 ' run/resolved.yaml || fail "resolved.yaml is not the present one"
[ "$(rate run 11)" = 0.01 ] || fail "step 11 has the rate $(rate run 11)"
"$retain" train tiny.yaml --set run.dir=whole --set train.tokens=5120 2>&1 >/dev/null | grep 'learning rate jumps' >out.txt || fail "a schedule begun again is not told"

# ---- another batch on other ranks: the step counter goes on, the schedule is read at the tokens ----
expect_code 78 ranks 3 train tiny.yaml --set run.dir=wider
says out.txt 'legal: dp of 1 to 2, a batch of at least 192 tokens'
expect_code 0 ranks 3 train tiny.yaml --set run.dir=wider --set train.batch_tokens=192
says out.txt 'train.batch_tokens was 128 and is 192'
says out.txt 'mesh was dp=1 cp=1 tp=1 and is dp=3 cp=1 tp=1'
[ -e wider/DONE ] || fail "three ranks did not finish"
"$retain" checkpoint list wider >out.txt 2>&1
says out.txt 'step=17 tokens=2624'  # 10 steps of 128, 7 of 192
[ "$(grep -c '"step":17,' wider/metrics.jsonl)" -ge 1 ] || fail "the step counter does not go on"

# ---- longer sequences, if allowed ----
expect_code 65 "$retain" train tiny.yaml --set run.dir=longer --set data.seq_len=64
says out.txt 'data.seq_len: the checkpoint has 32, this run has 64'
says out.txt '--allow-changed data.seq_len goes on'
expect_code 0 "$retain" train tiny.yaml --set run.dir=longer --set data.seq_len=64 --allow-changed data.seq_len
says out.txt 'data.seq_len was 32 and is 64: the samples that follow are drawn in a new order'

# ---- in another precision, and back ----
expect_code 0 "$retain" train tiny.yaml --set run.dir=same --set train.tokens=3840 --set precision=fp64
expect_code 0 "$retain" train tiny.yaml --set run.dir=same --set train.tokens=5120
says out.txt 'precision was fp64 and is fp32'

# ---- another seed does not hide other data; the model stays; a refusal changes no file ----
before=$(cat refused/resolved.yaml)
sed 's/path: text_train/path: text_valid/' tiny.yaml >other.yaml
expect_code 65 "$retain" train other.yaml --set run.dir=refused --set run.seed=4 --allow-changed run.seed
says out.txt 'data.contents: the checkpoint has'
expect_code 65 "$retain" train tiny.yaml --set run.dir=refused --set model.init_std=0.2
says out.txt 'model.init_std: the checkpoint has 0.1, this run has 0.2'
[ "$(cat refused/resolved.yaml)" = "$before" ] || fail "a refused resume has changed resolved.yaml"
expect_code 0 "$retain" train other.yaml --set run.dir=refused --set run.seed=4 --allow-changed run.seed,data.contents
"$retain" train --help | grep -qF -- '  never                  model.*' || fail "train --help does not say what may change"

# ---- which checkpoint was used ----
printf x | dd of=refused/checkpoints/step-00000020/shard-00000-of-00001.h5 bs=1 seek=5000 conv=notrunc 2>/dev/null
"$retain" eval refused --data v=text_valid --tokens 64 --json >out.json 2>out.txt
python3 - "$PWD" <<'PYTHON' || { cat out.json; fail "eval --json does not say which checkpoint"; }
import json, sys
used = json.load(open("out.json"))["checkpoint"]
run = sys.argv[1] + "/refused"
assert used["run"] == run and used["step"] == 10 and used["path"] == run + "/checkpoints/step-00000010", used
assert len(used["warnings"]) == 1 and "step-00000020 is damaged and not used" in used["warnings"][0], used
PYTHON
says out.txt "this is step 10 of $PWD/refused, $PWD/refused/checkpoints/step-00000010; see the warnings above"
"$retain" checkpoint digest refused/checkpoints/step-00000010/ --json 2>/dev/null >out.json
says out.json "\"run\": \"$PWD/refused\""
"$retain" generate whole --prompt a --max-tokens 1 >/dev/null 2>out.txt
says out.txt "this is step 40 of $PWD/whole"
"$retain" checkpoint digest whole --json >out.json 2>out.txt
says out.txt "this is step 40 of $PWD/whole"
says out.json "\"run\": \"$PWD/whole\""
echo passed
