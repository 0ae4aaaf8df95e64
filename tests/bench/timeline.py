#!/usr/bin/env python3
"""What the streams of a GPU did in its last steps, from a file of tests/bench/timeline.cpp.

    timeline.py FILE [--steps N]

Prints, for the step of median length, a bar of each stream (# busy, + partly, . idle), how long it was busy, and of the
compute stream: gaps between kernels inside steps and between steps, and the time in which it waited while another stream
was exchanging (exposed)."""
import argparse
import collections
import statistics

BAR = 100  # characters


def read(path):
    with open(path) as f:
        for line in f:
            stream, begin, end, name = line.rstrip("\n").split("\t", 3)
            yield int(stream), int(begin) / 1e3, int(end) / 1e3, name  # microseconds


def merged(intervals):
    """Disjoint intervals, in order."""
    out = []
    for begin, end in sorted(intervals):
        if out and begin <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([begin, end])
    return out


def overlap(intervals, begin, end):
    return sum(max(0.0, min(e, end) - max(b, begin)) for b, e in intervals)


def is_exchange(name):
    return "nccl" in name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    streams = collections.defaultdict(list)
    for stream, begin, end, name in read(options.file):
        streams[stream].append((begin, end, name))
    if not streams:
        raise SystemExit(f"{options.file}: empty")
    compute = max(streams, key=lambda s: sum(e - b for b, e, n in streams[s] if not is_exchange(n)))
    work = sorted(streams[compute])
    # A step ends with its last update: the last before the clip's scale is found again, or before the end.
    clips = [i for i, (b, e, n) in enumerate(work) if "clip_scale" in n] + [len(work)]
    ends = [max((i for i in range(a, b) if "adamw" in work[i][2]), default=None) for a, b in zip(clips, clips[1:])]
    ends = [i for i in ends if i is not None][-options.steps - 1:]
    if len(ends) < 2:
        raise SystemExit(f"{options.file}: fewer than two steps")
    steps = list(zip(ends, ends[1:]))
    lengths = [work[b][1] - work[a][1] for a, b in steps]
    median = statistics.median_low(lengths)
    first, last = steps[lengths.index(median)]
    begin, end = work[first][1], work[last][1]
    print(f"step of {median / 1e3:.3f} ms (median of {len(steps)}: {min(lengths) / 1e3:.3f} to {max(lengths) / 1e3:.3f})")

    inside, between = [], []
    for a, b in steps:
        reach = work[a][1]
        for i in range(a + 1, b + 1):
            gap = work[i][0] - reach
            if gap > 0:
                (between if i == a + 1 else inside).append((gap, work[i - 1][2], work[i][2]))
            reach = max(reach, work[i][1])
    print(f"between steps {statistics.median([g for g, *_ in between] or [0]):.1f} us, at most "
          f"{max([g for g, *_ in between] or [0]):.1f} us")
    large = [g for g in inside if g[0] > 20]
    print(f"gaps inside steps: {sum(g for g, *_ in inside) / len(steps) / 1e3:.3f} ms a step; {len(large) / len(steps):.1f} "
          f"a step above 20 us, at most {max([g for g, *_ in inside] or [0]):.1f} us")
    by_place = collections.Counter()
    for gap, before, after in large:
        by_place[before, after] += gap / len(steps)
    for (before, after), gap in by_place.most_common(6):
        print(f"  {gap:8.1f} us a step before {after}, after {before}")

    exchanging = merged([(b, e) for s in streams for b, e, n in streams[s] if is_exchange(n)])
    computing = merged([(b, e) for b, e, n in work if not is_exchange(n)])
    exposed = 0.0
    for (_, left), (right, _) in zip(computing, computing[1:]):
        if left >= begin and right <= end:
            exposed += overlap(exchanging, left, right)
    print(f"exchanges: {overlap(exchanging, begin, end) / 1e3:.3f} ms, exposed {exposed / 1e3:.3f} ms")

    width = (end - begin) / BAR
    for stream in sorted(streams, key=lambda s: s != compute):
        busy = merged([(b, e) for b, e, _ in streams[stream]])
        total = overlap(busy, begin, end)
        if total < 1:
            continue
        bar = ""
        for i in range(BAR):
            part = overlap(busy, begin + i * width, begin + (i + 1) * width) / width
            bar += "#" if part > 0.9 else "+" if part > 0.05 else "."
        names = collections.Counter()
        for b, e, n in streams[stream]:
            names[n] += overlap([(b, e)], begin, end)
        what = "compute" if stream == compute else ", ".join(n for n, t in names.most_common(2) if t > 0)
        print(f"stream {stream:3} {total / 1e3:9.3f} ms |{bar}| {what}")


if __name__ == "__main__":
    main()
