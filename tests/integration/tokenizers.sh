# Text by a tokenizer's files to tokens, a run on these, and text out of the run's own directory when the files are gone.
. "$(dirname "$0")/common.sh"

python3 "$source_dir/tests/integration/small_bpe.py" text.txt bpe 360
same_sets() { cmp "$1.bin" "$2.bin" && cmp "$1.idx" "$2.idx" || fail "$1 and $2 differ"; }

# The same bytes from any number of threads; a set says what it was made with.
for threads in 1 2 5; do
  "$retain" data prepare text.txt --out tokens$threads --tokenizer bpe --threads $threads >prepared.txt 2>/dev/null
done
same_sets tokens1 tokens2
same_sets tokens1 tokens5
"$retain" data prepare text.txt --out tokens --tokenizer bpe/vocab.json --holdout 0.1 2>/dev/null >prepared.txt
"$retain" data info tokens_train --tokenizer bpe --json >info.json
python3 - <<'PYTHON'
import json
info = json.load(open("info.json"))["sets"][0]
text = open("text.txt").read()
assert info["beginning"] and text.startswith(info["beginning"]), info
assert len(info["tokenizer_fingerprint"]) == 16 and info["tokenizer"].endswith("bpe/vocab.json"), info
assert info["tokens"] < len(text) / 2, info
PYTHON

# Training on them, by one rank and by two: rank 0 alone reads the tokenizer's files.
sed 's/^data:.*/data: {tokenizer: bpe, train: [{path: tokens_train}], valid: {held: tokens_valid}, seq_len: 32}/; s/vocab_size: 257/vocab_size: 376/' \
  tiny.yaml >bpe.yaml
echo 'precision: fp64' >>bpe.yaml
"$retain" train bpe.yaml >/dev/null 2>run.log || fail "training: $(cat run.log)"
cmp bpe/merges.txt run/tokenizer/merges.txt && cmp bpe/vocab.json run/tokenizer/vocab.json || fail "the run has no copy"
ranks 2 train bpe.yaml --set run.dir=two >/dev/null 2>two.log || fail "training by two ranks: $(cat two.log)"
losses_near run two 1e-9

# A vocabulary that is too small is refused with both numbers, as are sets of another tokenizer, and a resume with one.
expect_code 78 "$retain" train bpe.yaml --set run.dir=small --set model.vocab_size=359
grep -q "model.vocab_size: 359 is less than the 360 tokens of the tokenizer '.*/bpe'" out.txt || fail "two numbers: $(cat out.txt)"
expect_code 65 "$retain" train bpe.yaml --set run.dir=small --set data.tokenizer=bytes
grep -q "tokens_train: its tokens were made with the tokenizer '.*bpe/vocab.json' (360 tokens, [0-9a-f]*), but data.tokenizer is 'bytes'" out.txt ||
  fail "sets of another tokenizer: $(cat out.txt)"
expect_code 66 "$retain" train bpe.yaml --set run.dir=small --set data.tokenizer=none
grep -q "none': there is no such file or folder; want tokenizer.json, vocab.json with merges.txt" out.txt || fail "none: $(cat out.txt)"
[ ! -e small ] || fail "a refused run made its directory"
python3 "$source_dir/tests/integration/small_bpe.py" text.txt other 340
"$retain" data prepare text.txt --out others --tokenizer other 2>/dev/null >prepared.txt
expect_code 65 "$retain" train bpe.yaml --set train.tokens=12800 --set data.tokenizer=other --set 'data.train=[{path: others}]' --set 'data.valid={}' \
  --allow-changed data.contents
grep -q 'data.tokenizer: the checkpoint has [0-9a-f]*, this run has [0-9a-f]*' out.txt || fail "another tokenizer: $(cat out.txt)"

# The original moves: a resume is told where it is, and takes it for the same. Then it is gone, and the run needs it no more.
mv bpe moved
expect_code 0 "$retain" train bpe.yaml --set train.tokens=12800 --set data.tokenizer=moved
grep -q 'data.tokenizer was .*/bpe and is .*/moved' out.txt || fail "a tokenizer elsewhere: $(cat out.txt)"
rm -r moved
expect_code 66 "$retain" train bpe.yaml --set train.tokens=15360
grep -q "this run has a copy of its own: --set data.tokenizer=.*/run/tokenizer" out.txt || fail "no word of the copy: $(cat out.txt)"
expect_code 0 "$retain" train bpe.yaml --set train.tokens=15360 --set data.tokenizer=run/tokenizer
"$retain" eval run --data held=tokens_valid 2>/dev/null >eval.txt
grep -q 'bits_per_byte=' eval.txt || fail "no bits a byte: $(cat eval.txt)"
"$retain" generate run --prompt "defgh ijk" --max-tokens 200 --temperature 0.5 --seed 5 2>/dev/null >generated.txt
python3 - <<'PYTHON'
text = open("generated.txt", encoding="utf-8", errors="surrogateescape").read()
assert text.startswith("defgh ijk") and len(text) > 300, text
letters = sum(c in "abcdefghijklmnopqrstuvwxyz \n" for c in text)
assert letters > 0.95 * len(text), (letters, len(text), text)
PYTHON
# A checkpoint that was taken out of its run has no tokenizer.
cp -r "$(ls -d run/checkpoints/step-* | head -1)" alone
expect_code 66 "$retain" generate alone --prompt a --max-tokens 1
grep -q 'there is no such file or folder' out.txt || fail "a checkpoint alone: $(cat out.txt)"
# Another tokenizer in its place is noticed.
cp other/vocab.json other/merges.txt run/tokenizer/
expect_code 65 "$retain" generate run --prompt a --max-tokens 1
grep -q 'run/tokenizer: its fingerprint is' out.txt || fail "another tokenizer in the run: $(cat out.txt)"

# Other kinds are refused by name.
mkdir kinds
echo '{"model": {"type": "WordPiece", "vocab": {}}}' >kinds/tokenizer.json
expect_code 65 "$retain" data prepare text.txt --out x --tokenizer kinds
grep -q "model.type is 'WordPiece'; read are BPE over bytes" out.txt || fail "WordPiece: $(cat out.txt)"
echo '{"model": {"type": "Unigram", "vocab": []}}' >kinds/tokenizer.json
expect_code 65 "$retain" data prepare text.txt --out x --tokenizer kinds/tokenizer.json
grep -q "model.type is 'Unigram'" out.txt || fail "Unigram: $(cat out.txt)"

# A tokenizer of our own training: the same bytes each time, and a run on it that needs its own directory alone.
"$retain" data train-tokenizer text.txt --vocab 320 --out ours >trained.txt 2>/dev/null || {
  grep -q 'no SentencePiece' <("$retain" data train-tokenizer text.txt --vocab 320 --out ours 2>&1) && exit 0
  fail "train-tokenizer"
}
grep -q '^tokenizer=ours/tokenizer.model tokens=320 end_of_document=1 fingerprint=[0-9a-f]\{16\} ' trained.txt || fail "$(cat trained.txt)"
"$retain" data train-tokenizer text.txt --vocab 320 --out again >/dev/null 2>&1
cmp ours/tokenizer.model again/tokenizer.model || fail "two trainings differ"
"$retain" data prepare text.txt --out pieces --tokenizer ours --threads 3 2>/dev/null >prepared.txt
sed 's/^data:.*/data: {tokenizer: ours, train: [{path: pieces}], seq_len: 32}/; s/vocab_size: 257/vocab_size: 320/; s/{dir: run/{dir: pieces-run/' \
  tiny.yaml >pieces.yaml
"$retain" train pieces.yaml --set train.tokens=2560 >/dev/null 2>run.log || fail "training on pieces: $(cat run.log)"
rm -r ours again
"$retain" generate pieces-run --prompt "defgh" --max-tokens 20 2>/dev/null >generated.txt
[ "$(wc -c <generated.txt)" -gt 25 ] || fail "generated: $(cat generated.txt)"
