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

# ---- begun by --resume PATH: lost as much, and not begun once more from there ----
branch() { "$retain" train tiny.yaml --set run.dir=branch --set checkpoint.keep=2 --resume run/checkpoints/step-00000020; }
flip() { for file in "$@"; do printf 'XXXX' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none; done; }
expect_code 0 branch
cp -r branch whole_branch
rm -r branch/checkpoints/step-*
for attempt in 1 2; do
  expect_code 65 branch
  grep -q 'branch/checkpoints/latest names step-00000040' out.txt || { cat out.txt; fail "purged: the records are not named"; }
done
rm -r branch && cp -r whole_branch branch
flip branch/checkpoints/step-*/shard-*
expect_code 65 branch
expect_code 65 branch
grep -q '\.bad-step-00000040\.[0-9a-f]* was found damaged' out.txt || { cat out.txt; fail "what was found damaged is not named"; }
rm -r branch && cp -r whole_branch branch
flip branch/checkpoints/step-*/manifest.json
expect_code 65 branch
grep -q 'no checkpoint in .*branch/checkpoints can be read' out.txt || { cat out.txt; fail "unreadable manifests"; }
[ "$(ls branch/checkpoints)" = "$(printf 'latest\nstep-00000030\nstep-00000040')" ] || fail "left: $(ls -A branch/checkpoints)"
# A step of the run itself is a word of its own, and so is one of another where nothing was saved since.
cp -r branch/checkpoints/step-00000040 branch/elsewhere
cp whole_branch/checkpoints/step-00000040/manifest.json branch/elsewhere/
expect_code 0 "$retain" train tiny.yaml --set run.dir=branch --resume branch/elsewhere --set train.tokens=12800
cp -r whole_branch killed
rm -r killed/checkpoints killed/DONE
echo '{"event":"resume","step":10,"from":"run/checkpoints/step-00000010"}' >>killed/events.jsonl
expect_code 0 "$retain" train tiny.yaml --set run.dir=killed --resume run/checkpoints/step-00000010

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

# ---- so is one that is named, wherever on the path it is, and one that leads to itself ----
ln -s nowhere dang
ln -s loop loop
expect_named() {  # CODE LINK COMMAND…
  expect_code "$1" "${@:3}"
  grep -q "$2 is a symbolic link to .*, where nothing is" out.txt || { cat out.txt; fail "the link is not named: ${*:3}"; }
}
for link in dang loop; do
  expect_named 65 $link "$retain" train tiny.yaml --set run.dir=unborn --resume $link
  expect_named 65 $link "$retain" train tiny.yaml --set run.dir=unborn --init-from $link/checkpoints/step-00000040
  expect_named 65 $link "$retain" checkpoint list $link
  expect_named 65 $link "$retain" checkpoint verify $link/checkpoints/step-00000040
  expect_named 65 $link "$retain" eval $link --data held=text_valid
  expect_named 73 $link "$retain" train tiny.yaml --set run.dir=$link
done
expect_named 65 loop ranks 2 train tiny.yaml --set run.dir=unborn --resume loop

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
