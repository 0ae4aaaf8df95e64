# Checkpoints that are not where they were: purged, behind links, behind links to nothing.
. "$(dirname "$0")/common.sh"
"$retain" train tiny.yaml >/dev/null 2>&1
digest() { "$retain" checkpoint digest "$1" | sed -E 's/.*digest=([0-9a-f]{16}) .*/\1/'; }

# ---- purged: refused however often, until it is told to begin anew ----
cp -r run purged
rm -r purged/checkpoints/step-*
for attempt in 1 2; do
  expect_code 65 "$retain" train tiny.yaml --set run.dir=purged
  grep -q 'purged/checkpoints/latest names step-00000040' out.txt && grep -q 'events.jsonl says that step 40 was saved' out.txt && grep -q 'DONE says' out.txt || { cat out.txt; fail "the records are not named"; }
done
expect_code 0 "$retain" train tiny.yaml --set run.dir=purged --resume never
[ "$(digest purged)" = "$(digest run)" ] || fail "another run than the one that was purged"

# ---- links to the steps of another run: gone on from, written beside, the other stays as it is ----
mkdir -p linked/checkpoints
for step in run/checkpoints/step-*; do ln -s "../../$step" linked/checkpoints/; done
before=$(find run/checkpoints -type f -exec md5sum {} + | sort)
"$retain" checkpoint list linked >out.txt
[ "$(grep -c '^step=[0-9]* tokens=' out.txt)" = 4 ] || { cat out.txt; fail "linked steps are not listed"; }
expect_code 0 "$retain" train tiny.yaml --set run.dir=linked --set train.tokens=12800 --set checkpoint.keep=1
grep -q 'resumed from .*linked/checkpoints/step-00000040' out.txt || { cat out.txt; fail "not resumed"; }
[ "$(ls linked/checkpoints)" = "$(printf 'latest\nstep-00000050')" ] || fail "left: $(ls linked/checkpoints)"
[ "$before" = "$(find run/checkpoints -type f -exec md5sum {} + | sort)" ] || fail "the run behind the links has changed"

# ---- a link to nothing is named ----
mkdir -p dangling/checkpoints
ln -s ../../nowhere/step-00000040 ../../run/checkpoints/step-00000030 dangling/checkpoints/
expect_code 65 "$retain" train tiny.yaml --set run.dir=dangling
grep -q 'step-00000040 is a symbolic link to ../../nowhere/step-00000040, where nothing is' out.txt || { cat out.txt; fail "the link is not named"; }
"$retain" checkpoint list dangling >out.txt
grep -q 'step=40 unknown .*where nothing is' out.txt && grep -q '^step=30 tokens=' out.txt || { cat out.txt; fail "list"; }

# ---- checkpoints/ as a link: read, not written ----
mkdir folder
ln -s ../run/checkpoints folder/checkpoints
[ "$(digest folder)" = "$(digest run)" ] || fail "a linked folder is not read"
expect_code 73 "$retain" train tiny.yaml --set run.dir=folder --set train.tokens=12800
grep -q 'folder/checkpoints is a symbolic link to ../run/checkpoints' out.txt || { cat out.txt; fail "the link is not named"; }

# ---- what a resume of an older step set aside is listed, and goes when the run has caught up with it ----
cp -r run again
expect_code 0 "$retain" train tiny.yaml --set run.dir=again --resume again/checkpoints/step-00000020 --set train.tokens=7680
"$retain" checkpoint list again >out.txt
grep -qE '^step=40 set_aside=old bytes=[1-9][0-9]* path=again/checkpoints/.old-step-00000040' out.txt || { cat out.txt; fail "what was set aside is not listed"; }
expect_code 0 "$retain" train tiny.yaml --set run.dir=again --set train.tokens=12800 --set checkpoint.keep=2
grep -q 'deleted .old-step-00000040.*: it was set aside' again/log.txt || { cat again/log.txt; fail "no word about what was set aside"; }
[ -z "$(ls -A again/checkpoints | grep old)" ] || fail "left: $(ls -A again/checkpoints)"
echo passed
