#!/usr/bin/env bash
# How fast checkpoints are saved and loaded on a disk, beside dd and plain reading, and how long a save keeps training
# waiting: medians of the rounds, one line of key=value each. Nothing else may use the machine and its disk meanwhile.
#   tests/bench/checkpoint.sh BUILD_FOLDER DIRECTORY [MiB=1024] [ROUNDS=5]
set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
here=$(realpath "$(dirname "$0")")
build=$(realpath "$1") directory=$2 mib=${3:-1024} rounds=${4:-5}
cmake --build "$build" --target checkpoint_bench retain >/dev/null
bench=$build/bin/checkpoint_bench
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

# ---- stall: 12 M parameters, 183 MB of state, a save every 4 steps ----
cat >run.yaml <<'END'
model: {layers: 4, hidden_size: 512, heads: 4, ffn_size: 1024, vocab_size: 512}
data: {seq_len: 128}
device: cpu
END
"$here/checkpoint_stall.sh" "$build" "$work" run.yaml 512 4 6
