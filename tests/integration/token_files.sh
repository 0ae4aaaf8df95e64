# Files of tokens of other programs: llm.c's and nanoGPT's, one or several of a pattern, are trained on as they are.
. "$(dirname "$0")/common.sh"

python3 - <<'PYTHON'
from array import array
text = open("text.txt", "rb").read()[:20000]
tokens = array("H")
for line in text.split(b"\n"):
    tokens.extend([*line, 256])
def llm_c(name, part):
    header = array("i", [20240520, 1, len(part)] + [0] * 253)
    open(name, "wb").write(header.tobytes() + part.tobytes())
llm_c("all.bin", tokens)
for i in range(3):
    llm_c(f"shard_{i:06}.bin", tokens[7000 * i : 7000 * (i + 1) if i < 2 else len(tokens)])
open("nano.bin", "wb").write(tokens.tobytes())
PYTHON

train() {  # RUN PATH: digest of the checkpoint
  "$retain" train tiny.yaml --set "run.dir=$1" --set "data.train=[{path: '$2'}]" --set 'data.valid={}' --set train.tokens=5120 --set precision=fp64 >"$1.out" 2>&1 ||
    fail "$2: $(cat "$1.out")"
  digest "$1"
}
want=$(train whole all.bin)
[ -n "$want" ] || fail "no digest"
[ "$(train shards 'shard_*.bin')" = "$want" ] || fail "shards of one text are another text"
[ "$(train named nanogpt:nano.bin)" = "$want" ] || fail "nanoGPT's file is another text"
ranks 2 train tiny.yaml --set run.dir=two --set "data.train=[{path: 'shard_*.bin'}]" --set 'data.valid={v: nanogpt:nano.bin}' \
  --set train.tokens=5120 --set precision=fp64 >two.out 2>&1 || fail "two ranks: $(cat two.out)"
losses_near shards two 1e-9
"$retain" data info 'shard_*.bin' >info.txt
grep -q ' format=llm.c shards=3 ' info.txt || fail "info: $(cat info.txt)"
"$retain" eval whole --data v=nanogpt:nano.bin >eval.txt 2>/dev/null || fail "eval of nanoGPT's file"

# A resume on shards that were changed in between is refused, as is a shard that is cut off.
printf '\1\0' | dd of=shard_000001.bin bs=1 seek=5000 conv=notrunc 2>/dev/null
expect_code 65 "$retain" train tiny.yaml --set run.dir=shards --set "data.train=[{path: 'shard_*.bin'}]" --set 'data.valid={}' --set train.tokens=7680
grep -q 'data.contents' out.txt || fail "changed shards: $(cat out.txt)"
truncate -s -1 shard_000002.bin
expect_code 65 "$retain" train tiny.yaml --set run.dir=cut --set "data.train=[{path: 'shard_*.bin'}]" --set 'data.valid={}'
grep -q 'shard_000002.bin: byte [0-9]*: size of the file: found' out.txt || fail "a shard that is cut off: $(cat out.txt)"
expect_code 66 "$retain" train tiny.yaml --set run.dir=raw --set 'data.train=[{path: nano.bin}]' --set 'data.valid={}'
grep -q 'nanogpt:.*/nano.bin takes all of it as uint16' out.txt || fail "a file without a header: $(cat out.txt)"
