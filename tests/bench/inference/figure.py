#!/usr/bin/env python3
"""Draws memory, throughput and latency of decoding, RetNet beside a Transformer with a KV cache, as in figure 6 of the
RetNet paper (arXiv 2307.08621), from what `retain bench generate --json` and transformer.py measured. Needs gnuplot.

  tests/bench/inference/figure.py retnet.json transformer.csv decoding.svg [--batch 8] [--context 8192]
"""
import argparse
import csv
import json
import subprocess
import sys

GIB = 2.0**30


def retnet_rows(path):
    return json.load(open(path))["rows"]


def transformer_rows(path):
    rows = []
    for row in csv.DictReader(open(path)):
        rows.append({name: float(row[name]) if row[name] else None
                     for name in ("batch", "context", "ms_per_token", "tokens_per_s", "memory_bytes")})
    return rows


def block(name, rows, where, x, y, scale=1.0):
    """A gnuplot datablock of (x, y) of the rows that `where` holds for."""
    points = sorted((row[x], row[y] * scale) for row in rows if where(row) and row[y] is not None)
    if not points:
        sys.exit(f"no rows for {name}")
    return f"${name} << END\n" + "".join(f"{a:g} {b:g}\n" for a, b in points) + "END\n"


def script(retnet, transformer, out, batch, context):
    one_batch = lambda row: row["batch"] == batch
    one_context = lambda row: row["context"] == context
    text = ""
    for name, rows in (("retnet", retnet), ("transformer", transformer)):
        text += block(f"{name}_memory", rows, one_batch, "context", "memory_bytes", 1 / GIB)
        text += block(f"{name}_rate", rows, one_batch, "context", "tokens_per_s")
        text += block(f"{name}_latency", rows, one_context, "batch", "ms_per_token")

    def panel(title, quantity, x, y):
        lines = ", ".join(f"${name}_{quantity} using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc rgb '{color}' title '{label}'"
                          for name, label, color in (("retnet", "RetNet (Retain)", "#1b6ca8"),
                                                     ("transformer", "Transformer, KV cache", "#c0392b")))
        return f"set title '{title}'\nset xlabel '{x}'\nset ylabel '{y}'\nplot {lines}\n"

    lengths = ", ".join(f"'{n // 1024}k' {n}" for n in (2048, 4096, 8192, 16384, 32768, 65536))
    return text + (
        "set terminal svg size 1080,340 font 'sans-serif,12' background 'white'\n"
        f"set output '{out}'\nset grid lc rgb '#dddddd'\nset key top left\nset yrange [0:*]\nset multiplot layout 1,3\n"
        f"set logscale x 2\nset xtics ({lengths})\n"
        + panel(f"memory, batch {batch}", "memory", "context, tokens", "GiB")
        + panel(f"throughput, batch {batch}", "rate", "context, tokens", "tokens/s")
        + "set xtics autofreq\n"
        + panel(f"latency, context {context // 1024}k", "latency", "sequences side by side", "ms a token")
        + "unset multiplot\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retnet")
    parser.add_argument("transformer")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--context", type=int, default=8192)
    options = parser.parse_args()
    text = script(retnet_rows(options.retnet), transformer_rows(options.transformer), options.out, options.batch,
                  options.context)
    subprocess.run(["gnuplot", "-"], input=text, text=True, check=True)


if __name__ == "__main__":
    main()
