# What a run says: nothing that cannot be written ends it, an error is one message a job, a start that goes back says so.
. "$(dirname "$0")/common.sh"
# Small file systems of our own, where that is allowed.
[ "${IN_NAMESPACE:-}" ] || ! unshare -m true 2>/dev/null ||
  IN_NAMESPACE=1 exec unshare -m bash "$source_dir/tests/integration/reports.sh" "$@"

# ---- nothing can be written but checkpoints: the run goes on to its end, names each cause once and ends with 74 ----
mkdir unheard
for name in metrics.jsonl log.txt; do ln -s /dev/full unheard/$name; done
expect_code 74 ranks 2 train tiny.yaml --set run.dir=unheard --set checkpoint.on_error=continue
for name in metrics.jsonl log.txt; do
  [ "$(grep -c "$name cannot be written: .*No space left on device" out.txt)" = 1 ] || fail "$name: $(cat out.txt)"
done
grep -q 'error: metrics.jsonl: 42 records are lost' out.txt || fail "$(cat out.txt)"
[ -e unheard/DONE ] && [ -d unheard/checkpoints/step-00000040 ] || fail "the run did not go on to its end"
expect_code 0 bash -c '"$1" train tiny.yaml --set run.dir=mute >/dev/full' - "$retain"
grep -q 'stdout cannot be written: write stdout: No space left on device' out.txt || fail "$(cat out.txt)"
grep -q 'warning: stdout: .* records are lost' mute/log.txt || fail "log.txt does not say it: $(cat mute/log.txt)"
[ -e mute/DONE ] || fail "a run without stdout did not finish"

# ---- lines and their order are those of a run that can say everything; no share of a peak that nobody knows ----
expect_code 0 ranks 2 train tiny.yaml --set run.dir=runs/demo --set log.every=1
[ "$(grep -oE '^step=[0-9]+/40 loss' out.txt | grep -oE '[0-9]+/' | tr -d '/\n')" = "$(seq 40 | tr -d '\n')" ] || fail "$(cat out.txt)"
! grep -q mfu out.txt runs/demo/metrics.jsonl || fail "a share of an unknown peak is told"

# ---- one message a job: what all ranks find alike ----
expect_code 65 ranks 4 train tiny.yaml --set run.dir=runs/demo --set run.seed=4
[ "$(grep -c 'of another run' out.txt)" = 1 ] || fail "told by every rank: $(cat out.txt)"
[ "$(grep -vc ' info: ' out.txt)" -le 4 ] || fail "an error of all ranks takes too many lines: $(cat out.txt)"
! grep -q 'of another run' runs/demo/log.txt && [ ! -e runs/demo/FAILED ] || fail "a refused start leaves marks"

# ---- why a run that had begun failed is written down ----
cp -r runs/demo failed
rm failed/environment.json && mkdir failed/environment.json
expect_code 74 ranks 2 train tiny.yaml --set run.dir=failed --set train.tokens=20480
grep -q 'environment.json' failed/FAILED && tail -n 2 failed/log.txt | grep -q 'error: retain: rank 0 .*environment.json' || fail "not written down"
tail -n 1 failed/log.txt | grep -q 'error: ended with exit code 74: .*; 40 of 80 steps, 10240 tokens; 0 steps in .*; newest checkpoint .*/failed/checkpoints/step-00000040$' || fail "no closing line: $(tail -n 1 failed/log.txt)"
tail -n 1 failed/events.jsonl | grep -q '"step":40,"event":"error".*"code":"74".*"host":"'"$(hostname)"'","rank":"0"' || fail "no event: $(tail -n 1 failed/events.jsonl)"
# What a run that ended well came to.
tail -n 1 runs/demo/log.txt | grep -qE 'info: ended with exit code 0: finished; 40 of 40 steps, 10240 tokens; 40 steps in [0-9.]+ s by this start; best loss [0-9.]+ at step [0-9]+; best validation loss [0-9.]+ at step [0-9]+; newest checkpoint .*/runs/demo/checkpoints/step-00000040$' || fail "$(cat runs/demo/log.txt)"

# By the rank that failed, where that is not the first: here the tokens of one rank alone are damaged while it trains.
cp text_train.bin whole.bin
(code=0; ranks 2 train tiny.yaml --set run.dir=damaged --set train.tokens=2560000 >/dev/null 2>damaged.log || code=$?; echo $code >damaged.code) &
until [ "$(lines damaged/metrics.jsonl)" -gt 3 ]; do [ ! -e damaged.code ] || fail "$(cat damaged.log)"; sleep 0.01; done
python3 -c 'import os; f = os.open("text_train.bin", os.O_RDWR); os.pwrite(f, b"\xff" * os.fstat(f).st_size, 0)'
wait
cp whole.bin text_train.bin
[ "$(cat damaged.code)" = 65 ] || fail "exit $(cat damaged.code): $(cat damaged.log)"
rank=$(sed -nE 's/^retain: rank ([01]) .*/\1/p' damaged/FAILED)
[ "$rank" ] || fail "$(cat damaged/FAILED)"
tail -n 1 damaged/log.txt | grep -qE 'error: ended with exit code 65: .*token' || fail "$(tail -n 3 damaged/log.txt)"
tail -n 1 damaged/events.jsonl | grep -q '"event":"error".*"code":"65".*"rank":"'$rank'"' || fail "$(tail -n 2 damaged/events.jsonl)"

# The next start tells how this one ended; and where one ended without a word, that.
rmdir failed/environment.json
expect_code 0 "$retain" train tiny.yaml --set run.dir=failed
grep -q 'the start before this one failed: retain: .*environment.json' out.txt || fail "$(cat out.txt)"
rm runs/demo/DONE
sed -i '/"event":"done"/d' runs/demo/events.jsonl
expect_code 0 "$retain" train tiny.yaml --set run.dir=runs/demo
grep -q 'the start before this one ended without a word.*its last event was "checkpoint" at step 40' out.txt || fail "$(cat out.txt)"

# ---- back to an older step: each step once, by the filter of README.md as it is printed ----
"$retain" train tiny.yaml --set run.dir=runs/demo --resume runs/demo/checkpoints/step-00000020 >/dev/null 2>&1
grep -q '^{"step":20,"resume":true,"start":2}$' runs/demo/metrics.jsonl || fail "no word of going back"
awk '/^```python$/ { block = ""; inside = 1; next } /^```$/ { if (inside && block ~ /metrics.jsonl/) printf "%s", block; inside = 0 }
  inside { block = block $0 "\n" }' "${source_dir}/README.md" >filter.py
cat >>filter.py <<'EOF'
steps = [line["step"] for line in kept if "loss" in line]
assert steps == list(range(1, 41)), steps
assert [line["start"] for line in kept if "loss" in line] == [1] * 20 + [2] * 20
EOF
python3 filter.py || fail "the filter of README.md"

# ---- a job script with --resume PATH that is started again goes on, and says so ----
for start in 1 2; do
  expect_code 0 "$retain" train tiny.yaml --set run.dir=branch --resume runs/demo/checkpoints/step-00000020 --set train.tokens=$((7680 + 2560 * (start - 1)))
done
grep -q 'goes on from its own newest checkpoint' out.txt || fail "not said: $(cat out.txt)"
grep -q 'resumed from .*branch/checkpoints/step-00000030' out.txt || fail "$(cat out.txt)"
! ls -A branch/checkpoints | grep -q '^\.old' || fail "it went back: $(ls -A branch/checkpoints)"

# ---- a disk that is full for a while ----
if [ ! "${IN_NAMESPACE:-}" ]; then
  echo "skipped: this system lets us mount nothing"
  exit 77
fi
mkdir small
mount -t tmpfs -o size=32m tmpfs small
"$retain" train tiny.yaml --set run.dir=small/run --set checkpoint.every=0 --set eval.every=0 --set train.tokens=64M \
  --set log.every=1000 >/dev/null 2>out.txt &
run=$!
until [ -s small/run/metrics.jsonl ]; do sleep 0.01; done
dd if=/dev/zero of=small/ballast bs=64k 2>/dev/null || true
until grep -q 'metrics.jsonl cannot be written: .*No space left on device' out.txt; do kill -0 $run || fail "$(cat out.txt)"; sleep 0.01; done
rm small/ballast
until grep -qE 'metrics.jsonl is written again; [0-9]+ records? (is|are) lost' out.txt; do kill -0 $run || fail "$(cat out.txt)"; sleep 0.01; done
kill -USR1 $run
code=0
wait $run || code=$?
[ $code = 75 ] || fail "exit $code: $(cat out.txt)"
python3 -c 'import json; [json.loads(line) for line in open("small/run/metrics.jsonl")]' || fail "a torn line"
umount small
echo passed
