# TensorBoard's own library reads the events of a run that was stopped and went on as metrics.jsonl has them: the Python that
# $RETAIN_PYTHON names must have it.
. "$(dirname "$0")/common.sh"
python=${RETAIN_PYTHON:-python3}
if ! "$python" -c 'import tensorboard' 2>/dev/null; then
  echo "skipped: $python has no module tensorboard (RETAIN_PYTHON names another)"
  exit 77
fi
settings=(--set log.norms_every=7 --set eval.loss_by_position=true --set eval.recurrent_every=20 --set log.prometheus=collector.prom)
"$retain" train tiny.yaml "${settings[@]}" --set train.tokens=5120 >/dev/null 2>&1
"$retain" train tiny.yaml "${settings[@]}" >/dev/null 2>&1

"$python" - <<'END' || fail "TensorBoard reads something else"
import json, math, re
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

kept = {}
for line in map(json.loads, open("run/metrics.jsonl")):
    step = line.pop("step")
    if "resume" in line:
        kept = {key: value for key, value in kept.items() if key[1] <= step}
        continue
    for name, value in line.items():
        if name not in ("time", "start"): kept[name, step] = value

events = EventAccumulator("run/tensorboard", size_guidance={"scalars": 0})
events.Reload()
read = {(tag, e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}
assert read.keys() == kept.keys(), sorted(read.keys() ^ kept.keys())[:20]
for key, value in kept.items():
    assert math.isclose(read[key], value, rel_tol=1e-6, abs_tol=1e-30), (key, value, read[key])
for name in ("loss", "valid/held/loss", "valid/held/bits_per_byte", "valid/held/loss_from_position_16",
             "valid/held/recurrent_difference", "norms/layers.1/update", "data_share"):
    assert any(tag == name for tag, step in kept), name

last = {name: value for (name, step), value in sorted(kept.items(), key=lambda item: item[0][1])}
prom = dict(re.findall(r'^retain_(\w+)\{run="[^"]*/run"\} (\S+)$', open("collector.prom").read(), re.M))
for name, value in last.items():
    got = float(prom.pop(re.sub(r"[^A-Za-z0-9_]", "_", name)))
    assert math.isclose(got, value, rel_tol=1e-12), (name, got, value)
assert prom.keys() == {"step", "time", "start"}, prom.keys()
print(len(kept), "values of", len({name for name, step in kept}), "names")
END
echo passed
