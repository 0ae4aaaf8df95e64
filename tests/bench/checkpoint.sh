#!/usr/bin/env bash
# How fast checkpoints are saved and loaded on a disk, beside dd and plain reading, and how long a save keeps training
# waiting: medians of the rounds, one line of key=value each. Nothing else may use the machine and its disk meanwhile.
#   tests/bench/checkpoint.sh BUILD_FOLDER DIRECTORY [MiB=1024] [ROUNDS=5]
set -euo pipefail
build=$1 directory=$2 mib=${3:-1024} rounds=${4:-5}
retain=$(realpath "$build")/bin/retain
cmake --build "$build" --target checkpoint_bench retain >/dev/null
bench=$(realpath "$build")/bin/checkpoint_bench
mkdir -p "$directory"
work=$(mktemp -d -p "$directory")
trap 'rm -rf "$work"' EXIT
cd "$work"

# ---- throughput ----
for _ in $(seq "$rounds"); do
  begin=$(date +%s.%N)
  dd if=/dev/zero of=dd.bin bs=4M count=$((mib / 4)) conv=fsync status=none
  awk -v b="$begin" -v e="$(date +%s.%N)" -v m="$mib" 'BEGIN { printf "dd_fsync seconds=%.3f gb_per_second=%.3f\n", e - b, m * 1048576e-9 / (e - b) }'
  rm dd.bin
  "$bench" . "$mib" 1
done >rounds.txt
median() { sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2 }'; }
for what in dd_fsync plain_write plain_read save load load_half_of_every_row; do
  echo "$what median_gb_per_second=$(grep "^$what " rounds.txt | sed 's/.*gb_per_second=//' | median)"
done

# ---- stall: 12 M parameters, 144 MB of state, a save every 4 steps ----
awk 'BEGIN { srand(3); for (i = 0; i < 40000; i++) printf "%s ", substr("abcdefghijklmnopqrstuvwxyz", 1 + int(rand() * 20), 1 + int(rand() * 6)) }' >text.txt
"$retain" data prepare text.txt --out text 2>/dev/null
cat >run.yaml <<'END'
run: {dir: run}
model: {layers: 4, hidden_size: 512, heads: 4, ffn_size: 1024, vocab_size: 512}
data: {train: [{path: text}], seq_len: 128}
train: {tokens: 12288, batch_tokens: 512, micro_batch_tokens: 512}
schedule: {warmup: 4}
checkpoint: {every: 4, keep: 2}
device: cpu
END
for async in true false; do
  "$retain" train run.yaml --set run.dir="$async" --set checkpoint.async=$async >/dev/null 2>&1
  stall=$(grep '"event":"checkpoint"' $async/events.jsonl | sed -E 's/.*"stall_seconds":"([0-9.]*)".*/\1/' | head -n -1 | median)
  bytes=$(grep -m1 '"event":"checkpoint"' $async/events.jsonl | sed -E 's/.*"bytes":"([0-9]*)".*/\1/')
  step=$(grep '"loss"' $async/metrics.jsonl | sed -E 's/.*"step_seconds":([0-9.e-]*).*/\1/' | median)
  echo "stall async=$async bytes=$bytes median_stall_seconds=$stall median_step_seconds=$step"
done
