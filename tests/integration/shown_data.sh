# retain data show says what training reads: a token of the step that it names, made one that no vocabulary has, ends
# the run in that step with file, offset and token, on one rank and on several. So do files that are cut off, of another
# kind, or written while they are in use, of every format.
. "$(dirname "$0")/common.sh"

show() { "$retain" data show "$@"; }
# A set too large to be looked at as a whole at the start, most of which is a hole.
truncate -s 600M nano.bin
cat >nano.yaml <<'END'
run: {dir: nano, seed: 5}
model: {layers: 1, hidden_size: 16, heads: 2, ffn_size: 16, vocab_size: 257}
data: {tokenizer: bytes, train: [{path: 'nanogpt:nano.bin'}], seq_len: 32}
train: {tokens: 2560, batch_tokens: 256, micro_batch_tokens: 64, chunk: 16}
checkpoint: {every: 1000}
log: {every: 1}
device: cpu
END
cat >choose.py <<'END'
import json, subprocess, sys
tokens, looked_at = 300 * 2**20, 2**20  # 64 blocks of that many
blocks = [(tokens - looked_at) * i // 63 for i in range(64)]
for step in range(3, 9):
    shown = json.loads(subprocess.check_output([sys.argv[1], "data", "show", "--config", "nano.yaml", "--step", str(step), "--json"]))
    assert [s["sample"] for s in shown["samples"]] == list(range(8 * (step - 1), 8 * step)), shown
    for sample in shown["samples"]:
        assert sample["begin"] == 32 * sample["window"] and sample["tokens"] == [0] * 32
        if all(sample["begin"] + 33 < b or sample["begin"] > b + looked_at for b in blocks):
            print(step, sample["begin"] + 7)
            sys.exit()
END
read -r step token < <(python3 choose.py "$retain")
poke() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); f.write(int(sys.argv[3]).to_bytes(2, "little"))' "$@"; }
poke nano.bin $((2 * token)) 300
want="nano.bin: byte $((2 * token)): token $token: found 300, want 0 to 256"
expect_code 65 "$retain" train nano.yaml
grep -qF "$want" out.txt || fail "one rank: want '$want': $(cat out.txt)"
[ "$(grep -c '"loss"' nano/metrics.jsonl)" = $((step - 1)) ] || fail "want $((step - 1)) steps: $(cat nano/metrics.jsonl)"
expect_code 65 ranks 2 train nano.yaml --set run.dir=nano2
grep -qF "$want" out.txt || fail "two ranks: want '$want': $(cat out.txt)"
[ "$(grep -c '"loss"' nano2/metrics.jsonl)" = $((step - 1)) ] || fail "two ranks: want $((step - 1)) steps"
poke nano.bin $((2 * token)) 0

# Of a run: each rank's part, and steps after a resume with other batches.
"$retain" train tiny.yaml --set train.tokens=5120 >/dev/null 2>&1
show run --step 7 >a.txt
show --config tiny.yaml --step 7 | cmp - a.txt || fail "a run's step is not its configuration's"
for rank in 0 1 2 3; do show --config tiny.yaml --set parallel.cp=2 --step 7 --rank $rank --ranks 4 --json; done >ranks.jsonl
show run --step 7 --json >one.json
python3 - <<'PYTHON'
import json
def places(shown): return {(s["sample"], p): (t, g) for s in shown["samples"] for p, t, g in zip(s["positions"], s["tokens"], s["targets"])}
ranks = [places(json.loads(line)) for line in open("ranks.jsonl")]
one = places(json.load(open("one.json")))
assert sum(map(len, ranks)) == len(one) == 256 and {k: v for r in ranks for k, v in r.items()} == one
PYTHON
"$retain" train tiny.yaml --set train.tokens=10240 --set train.batch_tokens=512 >/dev/null 2>&1
show run --step 7 | cmp - a.txt || fail "a step before the resume is another one"
show run --step 23 | head -1 | grep -q '^step=23 first_sample=192 samples=16 ' || fail "after a resume: $(show run --step 23 | head -1)"
"$retain" data show run --sample 192 >b.txt
show run --step 23 | grep -A1 '^sample=192 ' | sed 's/micro_batch.*//' >c.txt
sed -n 3,4p b.txt | sed 's/micro_batch.*//' | cmp - c.txt || fail "sample 192: $(cat b.txt c.txt)"
expect_code 64 show run
expect_code 66 show none --step 1

# Documents, resets and masked targets of a set whose index alone ends documents, and text that our parser reads.
for i in $(seq 200); do printf '{"text": "document %d \303\251"}\n' "$i"; done >docs.jsonl
"$retain" data prepare docs.jsonl --out docs >/dev/null 2>&1
PYTHONPATH=$source_dir/tests/integration python3 - <<'PYTHON'
from megatron_reader import documents
read = documents("docs")
assert read == [[*f"document {i} é".encode(), 256] for i in range(1, 201)], read[:2]
PYTHON
show --config tiny.yaml --set 'data.train=[{path: docs}]' --step 1 --json >docs.json
python3 - <<'PYTHON'
import json
from array import array
tokens = array("H", open("docs.bin", "rb").read())
shown = json.load(open("docs.json"))
for sample in shown["samples"]:
    window = list(tokens[sample["begin"] : sample["begin"] + 33])
    assert sample["tokens"] == window[:32] and sample["targets"] == window[1:] and sample["masked"] == []
    assert sample["resets"] == sorted({0, *(i for i, t in enumerate(window[:32]) if t == 256)})
    assert "".join(d["text"] for d in sample["documents"]).encode("utf-8", "replace")
PYTHON

# What each reader refuses at the start.
python3 - <<'PYTHON'
from array import array
tokens = array("H", [65 + i % 26 for i in range(5000)])
bad = array("H", tokens); bad[4321] = 999
header = array("i", [20240520, 1, 5000] + [0] * 253).tobytes()
open("llm.bin", "wb").write(header + bad.tobytes())
open("cut_llm.bin", "wb").write((header + tokens.tobytes())[:-100])
open("raw.bin", "wb").write(bad.tobytes())
open("cut_raw.bin", "wb").write(tokens.tobytes()[:-1])
PYTHON
cp text_train.bin bad.bin && cp text_train.idx bad.idx && poke bad.bin 2000 999
cp text_train.idx cut.idx && head -c 2000 text_train.bin >cut.bin
cp text_train.idx kind.idx && cp text_train.bin kind.bin && printf XYZ | dd of=kind.idx conv=notrunc 2>/dev/null
refused() {  # SET MESSAGE [RANKS]
  expect_code 65 start "${3:-1}" --set run.dir=refused --set "data.train=[{path: '$1'}]"
  grep -qF -- "$2" out.txt || fail "$1 on ${3:-1} ranks: want '$2': $(cat out.txt)"
}
start() { if [ "$1" = 1 ]; then "$retain" train tiny.yaml "${@:2}"; else ranks "$1" train tiny.yaml "${@:2}"; fi; }
for n in 1 2; do
  refused bad 'bad.bin: byte 2000: token 1000: found 999' $n
  refused llm 'llm.bin: byte 9666: token 4321: found 999' $n
  refused nanogpt:raw.bin 'raw.bin: byte 8642: token 4321: found 999' $n
done
refused cut 'cut.bin: byte 2000: size of the tokens: found 2000, want at least'
refused cut_llm 'cut_llm.bin: byte 10924: size of the file: found 10924, want 11024'
refused nanogpt:cut_raw.bin 'cut_raw.bin: byte 9999: size of the file: found 9999, want an even number'
refused kind 'kind.idx: byte 0: magic: found other bytes'

# A file that is written while a run reads it ends the run.
for n in 1 2; do
  cp text_train.bin live.bin && cp text_train.idx live.idx
  start "$n" --set run.dir="live$n" --set 'data.train=[{path: live}]' --set train.tokens=200M --set checkpoint.every=100000 >"live$n.txt" 2>&1 &
  until [ "$(lines "live$n/metrics.jsonl")" -ge 3 ]; do kill -0 $! 2>/dev/null || fail "live: $(cat "live$n.txt")"; sleep 0.05; done
  poke live.bin 100 66
  code=0; wait $! || code=$?
  [ "$code" = 65 ] || fail "a file that was written under $n ranks: exit $code: $(tail -5 "live$n.txt")"
  grep -q 'live.bin: byte [0-9]*: token [0-9]*: the file was written while it was in use' "live$n.txt" || fail "$(tail -5 "live$n.txt")"
done
echo passed
