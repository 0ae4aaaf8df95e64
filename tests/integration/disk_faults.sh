# A disk that is full or read-only: saves fail with a reason, older checkpoints stay, the exit code is right.
. "$(dirname "$0")/common.sh"

# Small file systems of our own, where that is allowed.
if ! unshare -m true 2>/dev/null; then
  echo "skipped: this system lets us mount nothing"
  exit 77
fi
[ "${IN_NAMESPACE:-}" ] || IN_NAMESPACE=1 exec unshare -m bash "$source_dir/tests/integration/disk_faults.sh" "$@"

sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 1280, batch_tokens: 64, micro_batch_tokens: 64/; s/tokens: 512/tokens: 128/; s/every: 10, keep: 10/every: 5, keep: 10/; s/eval: {every: 20/eval: {every: 10/' tiny.yaml

check_whole() {  # RUN: all its steps are whole and no debris is left
  "$retain" checkpoint verify "$1" >out.txt || { cat out.txt; fail "$1 has damaged checkpoints"; }
  [ -z "$(ls -A "$1/checkpoints" | grep -vE '^(step-[0-9]{8}|latest)$')" ] || fail "debris: $(ls -A "$1/checkpoints")"
}
newest() { "$retain" checkpoint list "$1" | head -1 | sed -E 's/step=([0-9]+).*/\1/'; }

"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1

mkdir small
mounted() { mount -t tmpfs -o size="$1" tmpfs small; }

# ---- full from the start: refused before the first step ----
mounted 256k
expect_code 74 "$retain" train tiny.yaml --set run.dir=small/run
grep -q 'No space left on device' out.txt || fail "$(cat out.txt)"
umount small

# ---- full at every write of a save: sizes between "only the first checkpoint fits" and "all fit" ----
cp -r whole seed
rm -rf seed/checkpoints/step-000000{10,15,20} seed/DONE
used=$(du -sk seed | cut -f1)
one=$(du -sk seed/checkpoints/step-00000005 | cut -f1)
outcomes=
for extra in 12 40 $((one / 2)) $((one - 24)) $((one - 4)) $one $((one + 8)) $((one + 40)) $((2 * one)) $((2 * one + 24)) $((5 * one)); do
  mounted $((used + extra))k
  cp -r seed small/run
  code=0
  "$retain" train tiny.yaml --set run.dir=small/run >out.txt 2>&1 || code=$?
  [ $code = 0 ] || [ $code = 74 ] || [ $code = 73 ] || { cat out.txt; fail "exit $code with $extra KiB"; }
  check_whole small/run
  last=$(newest small/run)
  [ "$last" -ge 5 ] || fail "no checkpoint left with $extra KiB"
  [ $code != 0 ] || [ "$last" = 20 ] || fail "exit 0 without the last checkpoint"
  cp -r small/run rest
  umount small
  # With room again, the same command goes on and ends like the run that never was disturbed.
  "$retain" train tiny.yaml --set run.dir=rest >/dev/null 2>&1
  cmp rest/checkpoints/step-00000020/shard-00000-of-00001.h5 whole/checkpoints/step-00000020/shard-00000-of-00001.h5 || fail "other weights after a full disk"
  rm -rf rest
  outcomes+=" $code"
done
echo "exit codes:$outcomes"
case "$outcomes" in *74*0*) ;; *) fail "the sizes miss the interesting range" ;; esac

# ---- on_error: stop ends the run at the first failure ----
mounted $((used + 2 * one + 24))k
cp -r seed small/run
expect_code 74 "$retain" train tiny.yaml --set run.dir=small/run --set checkpoint.on_error=stop --set checkpoint.keep_every=5
grep -q 'the run ends because a checkpoint could not be saved' out.txt || fail "$(cat out.txt)"
[ "$(newest small/run)" -lt 20 ] || fail "the run did not stop"
umount small

# ---- read-only ----
mounted 16m
cp -r seed small/run
mount -o remount,ro small
expect_code 73 "$retain" train tiny.yaml --set run.dir=small/run
grep -q 'small/run' out.txt || fail "the path is not named: $(cat out.txt)"
expect_code 0 "$retain" checkpoint verify small/run
umount small
# ---- room for two checkpoints and keep: 2, which needs room for three while it saves; unless it may free before ----
for free in false true; do
  mounted $((2 * one + one / 2 + 64))k
  code=0
  "$retain" train tiny.yaml --set run.dir=small/run --set checkpoint.keep=2 --set checkpoint.free_before_save=$free >out.txt 2>&1 || code=$?
  [ $free = true ] || [ $code = 74 ] || fail "the test is wrong: three checkpoints fit, exit $code"
  [ $free = false ] || [ $code = 0 ] || { cat out.txt; fail "exit $code although room could be made"; }
  if [ $free = true ]; then
    [ "$(ls small/run/checkpoints)" = "$(printf 'latest\nstep-00000015\nstep-00000020')" ] || fail "left: $(ls small/run/checkpoints)"
    grep -q 'deleted step-00000005: 1 newer step is whole' small/run/log.txt || fail "not said: $(cat small/run/log.txt)"
    # The next start needs room too, before its first step.
    expect_code 0 "$retain" train tiny.yaml --set run.dir=small/run --set checkpoint.keep=2 --set checkpoint.free_before_save=true --set train.tokens=1920
  fi
  check_whole small/run
  umount small
done
echo passed
