#!/usr/bin/env bash
# Small models on one GPU: steps with and without graphs (train.graph), and several runs side by side, as processes of their
# own and, where its daemon can be started, under MPS. One call of under 4 minutes:
#   tests/bench/small_models.sh RETAIN        RETAIN: the program of a CUDA build
set -euo pipefail
case "${1:--h}" in -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
retain=$(realpath "$1")
configs=$(realpath "$(dirname "$0")/../../configs")
work=$(mktemp -d)
mps=no
stop_mps() { [ "$mps" = no ] || echo quit | nvidia-cuda-mps-control >/dev/null 2>&1 || true; mps=no; }
trap 'stop_mps; rm -rf "$work"' EXIT
cd "$work"
printf '%-14s %5s %5s %4s %8s %8s %9s %11s %11s %8s\n' config graph runs mps tokens micro 'step ms' 'tokens/s' 'of one' 'idle us'

# row CONFIG GRAPH RUNS TOKENS MICRO STEPS [SETTINGS…]: what so many runs at once do together; step ms is their median.
row() {
  local config=$1 graph=$2 runs=$3 tokens=$4 micro=$5 steps=$6 settings=() pids=() run
  shift 6
  for setting in train.graph="$graph" train.batch_tokens="$tokens" train.micro_batch_tokens="$micro" "$@"; do
    settings+=(--set "$setting")
  done
  rm -f out.*.json err.*.txt
  for run in $(seq "$runs"); do
    "$retain" bench step "$configs/$config.yaml" --warmup 20 --steps "$steps" --json "${settings[@]}" >out."$run".json 2>err."$run".txt &
    pids+=($!)
  done
  local failed=
  for run in "${!pids[@]}"; do wait "${pids[$run]}" || failed=err.$((run + 1)).txt; done
  if [ -n "$failed" ]; then
    echo "$config $graph $runs $tokens $micro: failed: $(head -3 "$failed")"
    return
  fi
  python3 - "$config" "$graph" "$runs" "$mps" "$tokens" "$micro" out.*.json <<'END'
import json, statistics, sys
config, graph, runs, mps, tokens, micro, *files = sys.argv[1:]
rows = [json.load(open(file))["rows"][0] for file in files]
rates = [row["tokens_per_s"] for row in rows]
print(f"{config:<14} {graph:>5} {runs:>5} {mps:>4} {tokens:>8} {micro:>8} {statistics.median(row['step_ms'] for row in rows):>9.3f} "
      f"{sum(rates):>11.0f} {statistics.median(rates):>11.0f} {statistics.median(row['between_steps_us'] for row in rows):>8.1f}")
END
}

for graph in off on; do
  row demo $graph 1 2Ki 512 150
  row demo $graph 1 2Ki 2Ki 300
  row demo $graph 1 16Ki 16Ki 600
  row demo $graph 1 64Ki 64Ki 200
done
# Long enough that what they do before the first step, and after the last, is a small part.
for runs in 2 4 8; do row demo on $runs 16Ki 16Ki $((6000 / runs)); done
if command -v nvidia-cuda-mps-control >/dev/null; then
  export CUDA_MPS_PIPE_DIRECTORY=$work/mps CUDA_MPS_LOG_DIRECTORY=$work/mps-log
  mkdir -p mps mps-log
  if nvidia-cuda-mps-control -d >/dev/null 2>&1; then
    mps=yes
    for runs in 2 4 8; do row demo on $runs 16Ki 16Ki $((6000 / runs)); done
  fi
  stop_mps
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
fi
for graph in off on; do
  row retnet_125m $graph 1 16Ki 16Ki 40
  row retnet_350m $graph 1 16Ki 16Ki 20
done
