#!/usr/bin/env bash
# From a bare machine to a trained, evaluated, talking RetNet, on CPUs: installs what is missing, builds, makes token shards
# from a real text (the King James Bible as Debian's package bible-kjv prints it), trains a byte-level model with two MPI
# ranks, evaluates it in all three forms of retention, writes a sample and draws the loss curve.
#   launch/demo.sh [--text FILE] [--ranks N]
set -euo pipefail
cd "$(dirname "$0")/.."

text=
ranks=2
while [ $# -gt 0 ]; do
  case "$1" in
    --text) [ $# -ge 2 ] || { echo "demo: --text needs a file" >&2; exit 64; }; text=$2; shift 2 ;;
    --ranks) [ $# -ge 2 ] || { echo "demo: --ranks needs a number" >&2; exit 64; }; ranks=$2; shift 2 ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "demo: unknown argument '$1' (known: --text FILE, --ranks N)" >&2; exit 64 ;;
  esac
done
if [ -n "$text" ] && [ ! -r "$text" ]; then
  echo "demo: cannot read the text '$text'" >&2
  exit 66
fi

# Another text is another run: a run goes on only with the data it began with.
run=runs/demo
if [ -n "$text" ]; then run=runs/demo-$(basename "$text" | tr -c 'A-Za-z0-9\n' '-'); fi

began=$SECONDS
say() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - began)); }
. launch/system.sh
launch/setup.sh

say "Building"
configure_preset cpu >/dev/null
cmake --build --preset cpu --target retain
retain=build/cpu/bin/retain

mkdir -p "$run/data"
if [ -z "$text" ]; then
  text=$run/data/kjv.txt
  if ! command -v bible >/dev/null 2>&1; then
    echo "demo: the program 'bible' (Debian's package bible-kjv) is not there; give a text with --text FILE" >&2
    exit 66
  fi
  bible -f gen1:1-rev22:21 >"$text"
fi
say "Making token shards from $text ($(wc -c <"$text") bytes, the last 5 % held out)"
"$retain" data prepare "$text" --out "$run/data/text" --tokenizer bytes --holdout 0.05 --encoding utf-8

say "Training with mpirun -n $ranks"
settings=(--set "run.dir=$run" --set "data.train=[{path: $run/data/text_train}]" --set "data.valid={book: $run/data/text_valid}")
launch/mpirun.sh --program "$retain" -n "$ranks" train configs/demo.yaml "${settings[@]}"
checkpoint=$run/checkpoints/$(cat "$run/checkpoints/latest")

say "Evaluating on the held-out text, in the three forms of retention"
for mode in parallel chunkwise recurrent; do
  "$retain" eval "$checkpoint" --data "book=$run/data/text_valid" --mode "$mode"
done

say "Writing a sample"
"$retain" generate "$checkpoint" --prompt "And the LORD said unto " --max-tokens 400 --temperature 0.8 --seed 1 | tee "$run/sample.txt"

say "Drawing the loss curve"
"$retain" plot "$run" --out "$run/loss.png" || echo "demo: no figure without gnuplot"

say "Done"
cat <<END
  run         $run            (resolved.yaml, metrics.jsonl, log.txt)
  checkpoint  $checkpoint
  sample      $run/sample.txt
  curve       $run/loss.png
Try next:
  launch/mpirun.sh -n 4 train configs/demo.yaml --set parallel.tp=2 --set parallel.cp=2 --set run.dir=runs/demo-2x2
  $retain generate $checkpoint --prompt "In the beginning " --max-tokens 300
  $retain plan configs/demo.yaml
  launch/demo.sh --text your.txt
END
