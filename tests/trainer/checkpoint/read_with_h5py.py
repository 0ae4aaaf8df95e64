"""Opens a checkpoint as a user would: every whole tensor in global.h5 equals the bytes in RUN/NAME.STATE, the shards
say where their parts belong, and what a missing shard held reads as NaN."""
import os
import sys

import h5py
import numpy as np

run, step = sys.argv[1], sys.argv[2]
folder = os.path.join(run, "checkpoints", step)
names = sorted(n for n in os.listdir(run) if n.endswith((".master", ".m", ".v")))
assert names
with h5py.File(os.path.join(folder, "global.h5"), "r") as view:
    assert view.attrs["step"] == 9
    for name in names:
        tensor, state = name.rsplit(".", 1)
        data = view[f"param/{tensor}/{state}"]
        assert data.dtype == np.float32
        want = np.fromfile(os.path.join(run, name), "<f4").reshape(data.shape)
        assert np.array_equal(data[...], want), name

shards = sorted(n for n in os.listdir(folder) if n.startswith("shard-"))
assert len(shards) == 4
elements = 0
for name in shards:
    with h5py.File(os.path.join(folder, name), "r") as shard:
        def check(path, item):
            global elements
            if not isinstance(item, h5py.Dataset):
                return
            state = path.rsplit("/", 1)[1]
            tensor = path.split("/")[1]
            shape = tuple(item.attrs["global_shape"])
            want = np.fromfile(os.path.join(run, f"{tensor}.{state}"), "<f4").reshape(shape)
            box = tuple(slice(o, o + n) for o, n in zip(item.attrs["offset"], item.shape))
            assert np.array_equal(item[...], want[box]), path
            elements += item.size
        shard.visititems(check)
assert elements == sum(os.path.getsize(os.path.join(run, n)) // 4 for n in names), "each element once"

os.rename(os.path.join(folder, shards[3]), os.path.join(folder, "hidden"))
with h5py.File(os.path.join(folder, "global.h5"), "r") as view:
    lost = sum(int(np.isnan(view[f"param/{n.rsplit('.', 1)[0]}/{n.rsplit('.', 1)[1]}"][...]).sum()) for n in names)
    assert lost > 0
