# A disk that holds two checkpoints, where keeping two needs room for three: plan, doctor and the start of the run name the
# save that will not fit, and it is that one. A disk that does not hold one is refused.
source_dir=$1
if ! unshare -m true 2>/dev/null; then
  echo "skipped: this system lets us mount nothing"
  exit 77
fi
[ "${IN_NAMESPACE:-}" ] || IN_NAMESPACE=1 exec unshare -m bash "$source_dir/tests/integration/disk_room.sh" "$@"
. "$source_dir/tests/integration/common.sh"
mkdir disk
mount -t tmpfs -o size=1500k tmpfs disk
small="--set run.dir=disk/run --set checkpoint.keep=2"

"$retain" plan tiny.yaml $small --json >plan.json 2>plan.log
grep -q '"disk_lacks_at_step": 30' plan.json || { cat plan.json; fail "plan --json"; }
grep -q '"checkpoints_at_once": 3' plan.json || { cat plan.json; fail "plan --json"; }
"$retain" plan tiny.yaml $small >plan.txt 2>&1
grep -q '^retain: the checkpoint of step 30 will not fit' plan.txt || { cat plan.txt; fail "plan"; }
expect_code 0 "$retain" doctor tiny.yaml $small
grep -qE '^WARN  disk +room +the checkpoint of step 30 will not fit' out.txt || { cat out.txt; fail "doctor"; }

expect_code 74 "$retain" train tiny.yaml $small
grep -q 'warning: the checkpoint of step 30 will not fit' out.txt || { cat out.txt; fail "no warning at the start"; }
[ "$(grep -oE 'step [0-9]+ was not saved' out.txt | head -n 1)" = "step 30 was not saved" ] || { cat out.txt; fail "another save failed"; }
# What a plan says of a checkpoint's size is about what it takes.
took=$("$retain" checkpoint list disk/run --json | sed -nE 's/.*"bytes": ?([0-9]+).*/\1/p' | head -n 1)
said=$(sed -nE 's/.*"checkpoint_bytes": ([0-9]+).*/\1/p' plan.json)
[ $((said * 10)) -gt $((took * 9)) ] && [ $((said * 10)) -lt $((took * 12)) ] || fail "planned $said bytes, took $took"

# Nothing of it is left, and less than one fits.
rm -rf disk/run
mount -o remount,size=500k disk
expect_code 69 "$retain" doctor tiny.yaml $small
grep -qE '^FAIL  disk +room +the checkpoint of step 10 will not fit' out.txt || { cat out.txt; fail "doctor of a tiny disk"; }
expect_code 74 "$retain" train tiny.yaml $small
grep -q 'cannot save to .*disk/run/checkpoints' out.txt || { cat out.txt; fail "the start on a tiny disk"; }
umount disk
