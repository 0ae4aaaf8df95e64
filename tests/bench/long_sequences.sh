#!/usr/bin/env bash
# Tokens a second and memory against the length of a sequence, from 2k to 1M tokens on one GPU, at every level of recompute.
# One call of under 6 minutes:
#   tests/bench/long_sequences.sh RETAIN        RETAIN: the program of a CUDA build
# The last rows are a model of 6.7 B, whose micro-batches are small without recompute.
set -euo pipefail
case "${1:--h}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
retain=$(realpath "$1")
configs=$(realpath "$(dirname "$0")/../../configs")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# step CONFIG TOKENS SEQ_LEN RECOMPUTE STEPS [SETTINGS…]: one row of results.jsonl.
step() {
  local config=$1 tokens=$2 length=$3 level=$4 steps=$5 settings=()
  shift 5
  for setting in "$@"; do settings+=(--set "$setting"); done
  if ! "$retain" bench step "$configs/$config.yaml" --steps "$steps" --warmup 2 --json --set train.batch_tokens="$tokens" \
    --set train.micro_batch_tokens="$tokens" --set data.seq_len="$length" --set train.recompute="$level" ${settings[@]+"${settings[@]}"} \
    >out.json 2>err.txt; then
    echo "$config $tokens $length $level: failed: $(head -3 err.txt)"
    return
  fi
  python3 - "$config" "$level" "$tokens" <<'END' >>results.jsonl
import json, sys
print(json.dumps(dict(zip(("config", "recompute", "tokens"), sys.argv[1:])) | json.load(open("out.json"))["rows"][0]))
END
}

model=retnet_1.4b_fla
for length in 2Ki 8Ki 32Ki; do step $model 32Ki $length none 8; done
step $model 32Ki 32Ki selective 8
step $model 32Ki 32Ki full 8
step $model 64Ki 2Ki selective 5
step $model 64Ki 64Ki selective 5
step $model 64Ki 64Ki segment 5
step $model 256Ki 256Ki segment 3 train.segment_tokens=32Ki
step $model 1Mi 1Mi segment 1
step $model 32Ki 2Ki none 8
step retnet_6.7b 4Ki 2Ki none 5 parallel.tp=1
step retnet_6.7b 16Ki 2Ki full 4 parallel.tp=1

python3 - <<'END'
import json
print(f"{'config':<18}{'recompute':<11}{'tokens a step':>14}{'sequence':>10}{'step ms':>11}{'tokens/s':>10}{'MFU':>7}{'GiB':>7}")
for row in map(json.loads, open("results.jsonl")):
    print(f"{row['config']:<18}{row['recompute']:<11}{row['tokens_a_step']:>14}{row['seq_len']:>10}{row['step_ms']:>11.1f}"
          f"{row['tokens_per_s']:>10.0f}{row['mfu']:>7.3f}{row['memory_bytes'] / 2**30:>7.1f}")
END
