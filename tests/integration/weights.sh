# Weights leave a run and come back: an export evaluates and generates as its run does, an import begins other runs, what
# cannot be exact or would overwrite is refused, and a disk that fails leaves nothing.
. "$(dirname "$0")/common.sh"

python3 "$source_dir/tests/integration/small_bpe.py" text.txt bpe 360
"$retain" data prepare text.txt --out text --tokenizer bpe --holdout 0.1 >/dev/null 2>&1
sed -i 's/tokenizer: bytes/tokenizer: bpe/; s/vocab_size: 257/vocab_size: 376/' tiny.yaml
ranks 2 train tiny.yaml --set parallel.tp=2 --set train.tokens=5120 >train.log 2>&1 || fail "$(cat train.log)"
export_to() { "$retain" checkpoint export run --format hf --out "$@" >export.txt 2>export.log || fail "$(cat export.log)"; }
loss_of() { sed -E 's/.* loss=([^ ]*).*/\1/'; }
loss() { "$retain" eval "$@" --data held=text_valid 2>eval.log | loss_of; }

export_to hf
[ "$(loss hf)" = "$(loss run)" ] || fail "an export evaluates to $(loss hf), its run to $(loss run)"
said=$("$retain" generate run --prompt "the " --max-tokens 8 --seed 2 2>/dev/null | od -c)
[ "$("$retain" generate hf --prompt "the " --max-tokens 8 --seed 2 2>/dev/null | od -c)" = "$said" ] || fail "it writes other text"
grep -q '"run": "run"' hf/retain.json || fail "$(cat hf/retain.json)"

# The window that others name may be longer than any text.
cp -r hf long
sed -i -E 's/("max_position_embeddings": )[0-9]+/\12147483648/' long/config.json
rm long/retain.json  # which knows that it was changed
[ "$(loss long)" = "$(loss run --context 1Gi)" ] || fail "a folder of long windows: $(cat eval.log)"

"$retain" checkpoint import hf --out imported >import.txt 2>&1 || fail "$(cat import.txt)"
"$retain" checkpoint verify imported >/dev/null
[ "$(loss imported)" = "$(loss run)" ] || fail "an import evaluates to $(loss imported)"
if grep -qv 'this is step' eval.log; then fail "$(cat eval.log)"; fi
"$retain" checkpoint export imported --format hf --out again >again.txt 2>/dev/null
diff -r -x retain.json hf again
for file in vocab.json merges.txt; do cmp bpe/$file again/$file; done
[ "$(sed -E 's/.*(weights_digest=[^ ]*).*/\1/' again.txt)" = "$(sed -E 's/.*(weights_digest=[^ ]*).*/\1/' export.txt)" ] ||
  fail "other weights: $(cat export.txt again.txt)"

# The imported run begins another one, on two ranks, with its configuration for a base.
rm -r bpe
sed '/^model:/d; s/tokenizer: bpe, //' tiny.yaml >new.yaml
echo 'base: [imported/config.yaml]' >>new.yaml
ranks 2 train new.yaml --set run.dir=other --set train.tokens=1024 --set parallel.tp=2 --init-from imported >other.log 2>&1 ||
  fail "$(cat other.log)"
python3 - <<'END'
import json
first = next(m["loss"] for m in map(json.loads, open("other/metrics.jsonl")) if m.get("step") == 1 and "loss" in m)
assert first < 5.5, first  # of new weights it is 5.9
END

# A run that begins with an export is told how to make one of it.
expect_code 66 "$retain" train new.yaml --set run.dir=none --init-from hf
grep -q -- "checkpoint import hf --out RUN" out.txt || fail "$(cat out.txt)"

# What is not as it was exported is not used: a byte of the weights, another tokenizer of as many tokens.
cp -r hf changed
spoil() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(-2, 2); b = f.read(1); f.seek(-2, 2); f.write(bytes([b[0] ^ 1]))' "$1"; }
spoil changed/model.safetensors
expect_code 65 "$retain" eval changed --data held=text_valid
grep -q "changed/model.safetensors: is not what was exported" out.txt || fail "$(cat out.txt)"
expect_code 65 "$retain" checkpoint import changed --out none
spoil changed/model.safetensors
[ "$(loss changed)" = "$(loss run)" ] || fail "what is whole again evaluates to $(loss changed)"
python3 - <<'END'
import json
words = json.load(open("changed/vocab.json"))
one, other = sorted(words, key=words.get)[40:42]
words[one], words[other] = words[other], words[one]
json.dump(words, open("changed/vocab.json", "w"))
END
for verb in "eval changed --data held=text_valid" "generate changed --prompt the" "checkpoint import changed --out none"; do
  expect_code 65 "$retain" $verb
  grep -q "is not the one that its weights were trained with" out.txt || fail "$(cat out.txt)"
done
"$retain" checkpoint import changed --out with-another --tokenizer changed >/dev/null 2>&1 || fail "what was asked for is refused"

# float64 is rounded, and it is said.
"$retain" train tiny.yaml --set run.dir=wide --set precision=fp64 --set train.tokens=256 --set data.tokenizer=hf >wide.log 2>&1 ||
  fail "$(cat wide.log)"
"$retain" checkpoint export wide --format hf --out narrow --json >narrow.json 2>/dev/null
grep -q '"the run.s weights are float64, and are rounded to float32"' narrow.json || fail "$(cat narrow.json)"

# Files that are cut, and rounded.
export_to bf16 --dtype bf16 --shard-size 20kB
[ "$(ls bf16/model-*.safetensors | wc -l)" -gt 2 ] && [ -e bf16/model.safetensors.index.json ] || fail "$(ls bf16)"
"$retain" checkpoint import bf16 --out rounded >/dev/null 2>&1
"$retain" checkpoint export rounded --format hf --out bf16-again --dtype bf16 --shard-size 20kB >/dev/null 2>&1
diff -r -x retain.json bf16 bf16-again

# What would be lost, is not there, or has no equal.
expect_code 73 "$retain" checkpoint export run --format hf --out hf
grep -q "is not empty" out.txt || fail "$(cat out.txt)"
expect_code 73 "$retain" checkpoint import hf --out run
expect_code 78 "$retain" checkpoint export run --format torchscale --out ts
grep -q "model.rotary: it turns by other angles" out.txt || fail "$(cat out.txt)"
rm hf/vocab.json
expect_code 66 "$retain" checkpoint import hf --out nothing
grep -q -- "--tokenizer" out.txt || fail "$(cat out.txt)"
"$retain" checkpoint import hf --out as-bytes --tokenizer bytes >/dev/null 2>&1
expect_code 66 "$retain" checkpoint import run --out nothing
expect_code 64 "$retain" checkpoint export run --format hf --out ""
expect_code 66 "$retain" checkpoint export nowhere --format hf --out deep/a/b
[ ! -e deep ] || fail "a folder for nothing: $(find deep)"

# A disk that takes no more: the limit of a file's size stands for it.
before=$(ls -A)
expect_code 74 bash -c 'trap "" XFSZ; ulimit -f 64; exec "$0" "$@"' "$retain" checkpoint export run --format hf --out full
expect_code 74 bash -c 'trap "" XFSZ; ulimit -f 64; exec "$0" "$@"' "$retain" checkpoint import bf16 --out full
[ "$(ls -A)" = "$before" ] || fail "something is left: $(ls -A)"

# A newest checkpoint whose weights are damaged: the one before, and it is said.
python3 - <<'END'
import glob, json
step = sorted(glob.glob("run/checkpoints/step-*"))[-1]
shard = json.load(open(f"{step}/manifest.json"))["shards"][1]
with open(f"{step}/{shard['file']}", "r+b") as file:
    file.seek(file.seek(0, 2) // 2)
    byte = file.read(1)
    file.seek(-1, 1)
    file.write(bytes([byte[0] ^ 1]))
END
"$retain" checkpoint export run --format hf --out older --json >older.txt 2>older.log || fail "$(cat older.log)"
grep -q "is damaged and not used" older.txt || fail "--json does not say it: $(cat older.txt)"
grep -q "is damaged and not used" older.log || fail "$(cat older.log)"
grep -q '"step": 10' older/retain.json || fail "$(cat older/retain.json)"
# Rank 1 alone reads what is damaged; rank 0 takes the older step too, and says why.
older=$(loss run/checkpoints/step-00000010)
got=$(CUDA_VISIBLE_DEVICES='' ranks 2 eval run --data held=text_valid --tp 2 2>two.log | loss_of) || fail "two ranks: $(cat two.log)"
python3 -c "assert abs($got - $older) < 1e-4" || fail "two ranks: '$got', want $older: $(cat two.log)"
[ "$(grep -c "is damaged and not used" two.log)" = 1 ] || fail "$(cat two.log)"
