# Levels of recompute: the same run in less memory, going on at another level, and what the plan says of each.
. "$(dirname "$0")/common.sh"
short="--set train.tokens=5120"

# ---- the same losses, to the last bit but for segments ----
"$retain" train tiny.yaml $short --set run.dir=none >/dev/null 2>&1
for level in selective full; do
  "$retain" train tiny.yaml $short --set run.dir=$level --set train.recompute=$level >/dev/null 2>&1
  diff <(losses none) <(losses $level) || fail "$level changes losses"
done
# In float64: in float32 a step's loss may move by more than rounding, where q.k of a document's first token changes its sign.
segments="--set train.recompute=segment --set train.segment_tokens=12"
"$retain" train tiny.yaml $short --set run.dir=whole --set precision=fp64 >/dev/null 2>&1
ranks 2 train tiny.yaml $short --set run.dir=segment --set precision=fp64 --set parallel.cp=2 $segments >/dev/null 2>&1
join <(losses whole) <(losses segment) | awk '{ d = $2 - $3; if (d * d > 1e-14) exit 1; n++ } END { exit n < 20 }' ||
  fail "losses by segments: $(join <(losses whole) <(losses segment))"

# ---- a run goes on at another level ----
cp -r none changed
rm -r changed/DONE changed/checkpoints/step-00000020
expect_code 0 "$retain" train tiny.yaml $short --set run.dir=changed --set train.recompute=full
grep -q 'train.recompute was none and is full' out.txt || { cat out.txt; fail "the change is not said"; }
diff <(losses none) <(losses changed) || fail "a change of the level changes losses"

# ---- what contradicts is refused ----
expect_code 78 "$retain" train tiny.yaml --set train.segment_tokens=12
grep -q 'train.segment_tokens = 12 cuts nothing with train.recompute = none' out.txt || { cat out.txt; fail "the level"; }

# ---- a million tokens on one GPU ----
million="--set data.seq_len=1Mi --set train.batch_tokens=1Mi --set train.micro_batch_tokens=1Mi"
"$retain" plan "$source_dir/configs/retnet_1.4b_fla.yaml" $million --set train.recompute=segment --json >plan.json
/usr/bin/python3 - <<'END' || fail "the plan: $(cat plan.json)"
import json
plan = json.load(open("plan.json"))
levels = plan["recompute"]
assert list(levels) == ["none", "selective", "full", "segment"]
h200 = 139.8 * 2**30
if plan["machine"] is None:
    assert levels["segment"]["needed_bytes"] <= h200 < levels["full"]["needed_bytes"], levels
assert levels["segment"]["segment_tokens"] == plan["segment_tokens"] < 2**20 <= plan["segments"] * plan["segment_tokens"]
assert 1 == levels["none"]["relative_time"] < levels["selective"]["relative_time"] < levels["full"]["relative_time"] < 1.34
END
