#!/usr/bin/env bash
# What two GPUs of one host make of twice one, and where the rest goes. One call of under 8 minutes:
#   tests/bench/parallel.sh RETAIN [CONFIG]        RETAIN: the program of a CUDA build; also builds its retain_timeline
# Each layout is measured beside one GPU that has as many tokens and the same level of recompute, in the same call. After
# the table come the streams of one step of each layout (tests/bench/timeline.py), rank 0's.
set -euo pipefail
case "${1:--h}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
retain=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
config=$(realpath "${2:-$here/../../configs/retnet_1.4b_fla.yaml}")
build=$(dirname "$(dirname "$retain")")
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
[ "$gpus" -ge 2 ] || { echo "needs two GPUs, $gpus here"; exit 77; }
cmake --build "$build" --target retain_timeline >/dev/null
timeline=$(find "$build" -name libretain_timeline.so | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# step NAME RANKS STEPS SETTINGS…: one row of results.jsonl, and the streams of rank 0 in NAME.0 if it is no baseline.
step() {
  local name=$1 ranks=$2 steps=$3 settings=() injection=()
  shift 3
  for setting in "$@"; do settings+=(--set "$setting"); done
  if ! "$here/../../launch/mpirun.sh" -n "$ranks" --program "$retain" bench step "$config" --steps "$steps" --warmup 2 --json \
    "${settings[@]}" >out.json 2>err.txt; then
    echo "$name: failed: $(head -3 err.txt)"
    return
  fi
  python3 - "$name" <<'END' >>results.jsonl
import json, sys
print(json.dumps({"name": sys.argv[1]} | json.load(open("out.json"))["rows"][0]))
END
  [ "$ranks" -gt 1 ] || return 0
  CUDA_INJECTION64_PATH=$timeline RETAIN_TIMELINE=$work/$name "$here/../../launch/mpirun.sh" -n "$ranks" --program "$retain" \
    bench step "$config" --steps 3 --warmup 2 --json "${settings[@]}" >/dev/null 2>&1 || echo "$name: no timeline"
}

two="train.micro_batch_tokens=16Ki"
step one-16k 1 12 train.batch_tokens=16Ki $two
for zero in 1 0 2; do step dp-zero$zero 2 12 train.batch_tokens=32Ki $two parallel.dp=2 parallel.zero=$zero; done
step dp-zero1-bf16 2 12 train.batch_tokens=32Ki $two parallel.dp=2 parallel.gradient_dtype=bf16
for chunks in auto 1; do
  step tp-chunks-$chunks 2 12 train.batch_tokens=32Ki train.micro_batch_tokens=32Ki parallel.tp=2 parallel.tp_chunks=$chunks
done
step one-32k 1 8 train.batch_tokens=32Ki train.micro_batch_tokens=32Ki data.seq_len=32Ki
step cp-64k 2 8 train.batch_tokens=64Ki train.micro_batch_tokens=64Ki data.seq_len=64Ki parallel.cp=2
long="train.recompute=segment train.segment_tokens=32Ki"
step one-256k 1 2 train.batch_tokens=256Ki train.micro_batch_tokens=256Ki data.seq_len=256Ki $long
step cp-512k 2 2 train.batch_tokens=512Ki train.micro_batch_tokens=512Ki data.seq_len=512Ki parallel.cp=2 \
  train.recompute=segment train.segment_tokens=64Ki
step one-16k-again 1 12 train.batch_tokens=16Ki $two

python3 - <<'END'
import json
rows = {}
for line in open("results.jsonl"):
    row = json.loads(line)
    rows[row["name"]] = row
baseline = {"dp": "one-16k", "tp": "one-16k", "cp-64k": "one-32k", "cp-512k": "one-256k"}
print(f"{'what':<16}{'mesh':<18}{'step ms':>10}{'tokens/s':>11}{'MFU':>7}{'GiB':>7}  of twice one")
for name, row in rows.items():
    one = next((rows.get(b) for prefix, b in baseline.items() if name.startswith(prefix)), None)
    share = f"{row['tokens_per_s'] / (2 * one['tokens_per_s']):.3f} ({one['name']})" if one else ""
    print(f"{name:<16}{row['mesh']:<18}{row['step_ms']:>10.2f}{row['tokens_per_s']:>11.0f}{row['mfu']:>7.3f}"
          f"{row['memory_bytes'] / 2**30:>7.1f}  {share}")
END
for file in *.0; do
  echo
  echo "== ${file%.0}"
  python3 "$here/timeline.py" "$file" --steps 3 || true
done
