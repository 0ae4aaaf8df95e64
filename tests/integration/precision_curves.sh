# 300 steps of the 125 M model in bfloat16 follow the same steps in float32, on one GPU: means of the loss over 50 steps
# within 0.5 %. Words, not bytes, as a model of this size reads: of bytes it learns so much within these steps that being two
# steps late is 0.7 %. Runs that differ in rounding alone come apart, too; what keeps them together, and how far each of it
# does, is in tests/bench/README.md. Trains on the text $RETAIN_TEXT (some 50 MB, or it is read again), or else on the demo's;
# arguments after the two folders go to both runs.
[ -z "${RETAIN_TEXT:-}" ] || RETAIN_TEXT=$(realpath "$RETAIN_TEXT")
. "$(dirname "$0")/common.sh"
. "$source_dir/tests/integration/curves.sh"

model=$source_dir/configs/retnet_125m.yaml
[ -n "$(machine "$model" gpus)" ] || skip "no GPU here"
text=$(real_text)
[ -n "$text" ] || skip "no text: give one in RETAIN_TEXT, or install bible-kjv"
python3 "$source_dir/tests/integration/word_tokens.py" "$text" words

model() {  # PRECISION SETTINGS…
  train_quietly 1 "$model" --set "run.dir=$1" --set "precision=$1" --set 'data.train=[{path: words}]' --set 'data.valid={}' \
    --set train.tokens=9600Ki --set train.batch_tokens=32Ki --set model.norm_eps=1e-3 --set optimizer.lr=1e-4 \
    --set schedule.warmup=100 --set checkpoint.every=0 --set checkpoint.keep_every=0 "${@:2}"
}
model fp32 "${@:3}" &
in_fp32=$!
model bf16 "${@:3}"
wait "$in_fp32" || fail "the run in fp32"
compare bf16 bf16 fp32 5e-3 relative || fail "bfloat16 leaves float32"
echo passed
