#!/usr/bin/env bash
# What saves cost a training run, in the background and not: medians over all saves but the last, one line of key=value
# each, in seconds.
#   tests/bench/checkpoint_stall.sh BUILD_FOLDER DIRECTORY CONFIG [BATCH_TOKENS=16384] [EVERY=80] [SAVES=4]
# A run of CONFIG's model on text made here, one micro-batch of BATCH_TOKENS a step, saves every EVERY steps to a new
# folder in DIRECTORY, which needs room for three checkpoints. EVERY is long enough if a save is over before the next.
#   step   a step while no save is under way         next_step     the step right after a save was begun
#   copy   from the device to the host               stall         between steps, because of the save
#   save   until the checkpoint is committed         writing_step  a later step while the save goes on
#   exposed = stall + next_step - step: all that training lost until the next step was done
#   beyond_copy = exposed - copy: 0 or less when nothing waits but for the copy; it says nothing of how much is hidden
set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
build=$(realpath "$1") config=$(realpath "$3") batch=${4:-16384} every=${5:-80} saves=${6:-4}
retain=$build/bin/retain
mkdir -p "$2"
work=$(mktemp -d -p "$2")
trap 'rm -rf "$work"' EXIT
cd "$work"

awk 'BEGIN { srand(3); for (i = 0; i < 400000; i++) printf "%s ", substr("abcdefghijklmnopqrstuvwxyz", 1 + int(rand() * 20), 1 + int(rand() * 6)) }' >text.txt
"$retain" data prepare text.txt --out text 2>/dev/null
cat >run.yaml <<END
base: ["$config"]
data: {tokenizer: bytes, train: [{path: text}], valid: {}}
train: {tokens: $((batch * every * (saves + 1))), batch_tokens: $batch, micro_batch_tokens: $batch}
schedule: {warmup: 4}
eval: {every: 0}
checkpoint: {every: $every, keep: 2, keep_every: 0}
END
cat >medians.py <<'END'
import json, statistics, sys

median = statistics.median
events = [json.loads(line) for line in open("run/events.jsonl")]
steps = {m["step"]: m["step_seconds"] for m in map(json.loads, open("run/metrics.jsonl")) if "loss" in m}
saves = [e for e in events if e["event"] == "checkpoint"][:-1]
busy, writing = {1, 2, 3}, []  # the first steps choose algorithms
for e in saves:
    left, step = float(e["seconds"]), e["step"]
    while left > 0 and step + 1 in steps:
        step += 1
        left -= steps[step]
        busy.add(step)
        if step > e["step"] + 1:
            writing.append(steps[step])
value = lambda key: median(float(e[key]) for e in saves)
step = median(seconds for i, seconds in steps.items() if i not in busy)
next_step = median(steps[e["step"] + 1] for e in saves)
size, save, copy, stall = float(saves[0]["bytes"]), value("seconds"), value("copy_seconds"), value("stall_seconds")
exposed = stall + next_step - step
beyond = exposed - copy
print(f"async={sys.argv[1]} saves={len(saves)} bytes={size:.0f} step={step:.4f} next_step={next_step:.4f}"
      f" writing_step={median(writing or [step]):.4f} stall={stall:.4f} copy={copy:.4f} save={save:.3f}"
      f" gb_per_second={size * 1e-9 / save:.3f} exposed={exposed:.4f} exposed_in_steps={exposed / step:.3f}"
      f" beyond_copy={beyond:.4f} beyond_copy_in_steps={beyond / step:.3f}"
      f" start={events[0]['time'] - int(sys.argv[2])}")
END
for async in true false; do
  begin=$(date +%s)
  "$retain" train run.yaml --set run.dir=run --set checkpoint.async=$async >out.txt 2>&1 || { cat out.txt; exit 1; }
  python3 medians.py $async "$begin"
  rm -r run
done
