#!/bin/bash
# Makes the folder of a release: tests/releases/make.sh PROGRAM NAME, once, with the program as it was released.
# Two ranks (tp=2) train eight steps on one document; the checkpoint of step 4 is kept, with what followed.
set -euo pipefail
releases=$(cd "$(dirname "$0")" && pwd)
program=$(readlink -f "$1") folder=$releases/$2
work=/tmp/retain-release-$2  # a plain name: it stands in the checkpoint
rm -rf "$work"
mkdir "$work" "$folder"
cd "$work"
head -c 2500 "$releases/../../LICENSE" >text
"$program" data prepare text --out text
cp "$releases/run.yaml" .
"$releases/../../launch/mpirun.sh" --program "$program" -n 2 train run.yaml --set parallel.tp=2 >/dev/null
step=run/checkpoints/step-00000004
mkdir -p "$folder/checkpoints"
cp text.bin text.idx "$folder"
cp -r "$step" "$folder/checkpoints"
{
  "$program" checkpoint digest "$step" | sed -E 's/.*(digest)=([0-9a-f]{16}) .*/\1 \2/'
  "$program" eval "$step" --data text=text --json | sed -nE 's/^ *"(loss)": ([0-9.]+),.*/eval \2/p'
  sed -nE 's/^\{.*"step":([0-9]+),.*"loss":([0-9.]+),.*/step \1 \2/p' run/metrics.jsonl
} >"$folder/results.txt"
rm -r "$work"
