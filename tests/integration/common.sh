# Sourced by the integration tests: a scratch folder with token shards and a tiny configuration.
set -euo pipefail
source_dir=$1
retain=$2/retain
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }
ranks() { "$source_dir/launch/mpirun.sh" --program "$retain" -n "$1" "${@:2}"; }
# expect_code CODE COMMAND…: the command ends with exactly this code; its output is in out.txt
expect_code() {
  local want=$1 got=0
  shift
  "$@" >out.txt 2>&1 || got=$?
  [ "$got" = "$want" ] || { cat out.txt; fail "exit $got, want $want: $*"; }
}
digest() { "$retain" checkpoint digest "$1" 2>/dev/null | sed -E 's/.*digest=([0-9a-f]{16}) .*/\1/'; }
lines() { if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi; }
# losses_near RUN RUN [LIMIT]: the same steps, and losses that differ by rounding alone, as those of two layouts do: by a
# relative 1e-3 in float32, which a few steps make of 1e-7; in float64 ask for 1e-9
losses_near() {
  python3 - "$1" "$2" "${3:-1e-3}" <<'END'
import json, sys
def losses(run): return {m["step"]: m["loss"] for m in map(json.loads, open(f"{run}/metrics.jsonl")) if "loss" in m}
one, other = losses(sys.argv[1]), losses(sys.argv[2])
steps = min(len(one), len(other))
assert steps > 0 and sorted(one)[:steps] == sorted(other)[:steps], "other steps"
worst = max(abs(one[s] - other[s]) / one[s] for s in sorted(one)[:steps])
print(f"worst relative difference of {steps} losses: {worst:.1e}")
sys.exit(0 if worst < float(sys.argv[3]) else 1)
END
}
losses() { grep '"loss"' "$1/metrics.jsonl" | sed -E 's/^\{"step":([0-9]+),.*"loss":([^,]*),.*/\1 \2/' | sort -n -u; }

# The same on every machine: not every awk's rand() can be given a seed.
python3 - >text.txt <<'END'
import random
draw, letters = random.Random(3).random, "abcdefghijklmnopqrstuvwxyz" * 2
for _ in range(6000):
    n = int(draw() * 40)
    print(letters[n % 26 : n % 26 + 2 + n % 7], end=" " if n % 9 else "\n")
END
"$retain" data prepare text.txt --out text --holdout 0.1 2>/dev/null
cat >tiny.yaml <<'END'
run: {dir: run, seed: 3}
model: {layers: 2, hidden_size: 32, heads: 4, ffn_size: 48, vocab_size: 257, init_std: 0.1}
data: {tokenizer: bytes, train: [{path: text_train}], valid: {held: text_valid}, seq_len: 32}
train: {tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64, chunk: 16}
eval: {every: 20, tokens: 512}
optimizer: {lr: 3e-3}
schedule: {kind: cosine, warmup: 5, final: 0.1}
checkpoint: {every: 10, keep: 10}
log: {every: 10}
device: cpu
END
