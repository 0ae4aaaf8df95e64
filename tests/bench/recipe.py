#!/usr/bin/env python3
"""Which settings train a RetNet without trouble: one factor at a time from the defaults, and seeds of each.

  recipe.py RETAIN SET_TRAIN SET_VALID TABLE.csv [--size 25m] [--jobs 3] [--seconds 540] [--set KEY=VALUE]...
  recipe.py --report TABLE.csv

Every run that ends is a row of TABLE.csv and needs nothing else: the same command again trains what is lacking. No run is
begun that would not be done within --seconds, by what the slowest took. SET_TRAIN, SET_VALID: of retain data prepare. Variants
may be joined, and any key is one: --only default --only head_norm_eps=1e-3+optimizer.lr=1e-3. The report is Markdown on stdout.
"""
import argparse, csv, json, math, os, shutil, statistics, subprocess, sys, tempfile, time

SIZES = {  # of configs/retnet_125m.yaml; 25 M parameters in blocks; and one that a CPU trains in a second
    "125m": {"model.layers": 12, "model.hidden_size": 768, "model.heads": 6, "model.ffn_size": 1024},
    "25m": {"model.layers": 8, "model.hidden_size": 512, "model.heads": 4, "model.ffn_size": 704},
    "tiny": {"model.layers": 2, "model.hidden_size": 32, "model.heads": 2, "model.ffn_size": 48, "data.seq_len": 64,
             "train.batch_tokens": 512, "train.micro_batch_tokens": 512, "schedule.warmup": 10, "eval.tokens": 2048,
             "device": "cpu"},
}
# Of one depth, for learning rates by width.
SIZES.update({f"w{width}": {"model.layers": 4, "model.hidden_size": width, "model.heads": width // 64,
                            "model.ffn_size": 3 * width // 2} for width in (128, 256, 512, 1024)})
COMMON = {"model.vocab_size": 257, "model.tie_embeddings": "true", "data.seq_len": 2048, "train.batch_tokens": 32768,
          "train.micro_batch_tokens": "16Ki", "eval.tokens": "2Mi", "checkpoint.every": 0, "log.every": 1000}
STEPS = {"tiny": 40}  # of the others 1,000
SECONDS = {"125m": 70, "w1024": 45, "tiny": 5}  # that a run is thought to take until one has shown it; of the others 30


def variants(size):
    """Settings by name; a name is the settings' own where it can be."""
    scale = math.sqrt(SIZES[size]["model.hidden_size"])
    found = {"default": {}}
    for eps in ("1e-5", "1e-3"):
        found[f"head_norm_eps={eps}"] = {"model.head_norm_eps": eps}
        found[f"norm_eps={eps}"] = {"model.norm_eps": eps}
    found["end_token_before_windows"] = {"data.end_token_before_windows": "true"}
    found["init=depth_scaled"] = {"model.init": "depth_scaled"}
    found["init=torchscale"] = {"model.init": "torchscale"}
    found["init=torchscale,embedding_scale"] = {"model.init": "torchscale", "model.embedding_scale": f"{scale:.8g}"}
    for warmup in ((5, 20) if size == "tiny" else (50, 150)):
        found[f"warmup={warmup}"] = {"schedule.warmup": warmup}
    found["beta2=0.95"] = {"optimizer.betas": "[0.9, 0.95]"}
    return found


def settings_of(name, size):
    known, settings = variants(size), {}
    for part in name.split("+"):
        key, _, value = part.partition("=")
        if part not in known and "." not in key:
            sys.exit(f"recipe.py: no variant {part!r}; there are: {' '.join(known)}, and any key as in optimizer.lr=1e-3")
        settings.update(known.get(part, {key: value}))
    return settings


FIELDS = ("size variant seed steps status valid_loss train_loss first_norm norm_p50 norm_p90 norm_p99 norm_max spikes skips "
          "seconds tokens_per_second").split()


def read_table(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def append_row(path, row):
    new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def steps_of(options):
    return options.steps or STEPS.get(options.size, 1000)


class Run:
    def __init__(self, options, folder, name, seed, gpu):
        self.name, self.seed, self.size, self.gpu = name, seed, options.size, gpu
        self.folder = os.path.join(folder, f"{name}-{seed}".replace("/", "_"))
        self.steps = steps_of(options)
        settings = {**COMMON, **SIZES[options.size]}
        settings.update(setting.split("=", 1) for setting in options.set)
        settings.update(settings_of(name, options.size))
        settings.update({"run.dir": self.folder, "run.seed": seed, "eval.every": self.steps,
                         "train.tokens": self.steps * int(settings["train.batch_tokens"]),
                         "data.train": f"[{{path: {options.train}}}]", "data.valid": f"{{valid: {options.valid}}}"})
        config = self.folder + ".yaml"
        with open(config, "w") as file:
            file.write("{}\n")
        environment = dict(os.environ)
        if options.gpus > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        command = [options.retain, "train", config]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        self.begin = time.monotonic()
        with open(self.folder + ".txt", "w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def row(self):
        """What it came to; exit code 76 is a result, any other but 0 is none."""
        code = self.process.returncode
        if code not in (0, 76):
            with open(self.folder + ".txt") as output:
                sys.exit(f"recipe.py: {self.name}, seed {self.seed}: exit code {code}: {output.read()[-800:]}")
        number = lambda value: math.nan if value is None else value  # JSON has no number that is not finite
        steps, valid = [], math.nan
        for line in open(os.path.join(self.folder, "metrics.jsonl")):
            line = json.loads(line)
            if "grad_norm" in line:
                steps.append(line)
            valid = line.get("valid/valid/loss", valid)
        events = [json.loads(line) for line in open(os.path.join(self.folder, "events.jsonl"))]
        norms = sorted(s["grad_norm"] for s in steps if s["grad_norm"] is not None and math.isfinite(s["grad_norm"])) or [math.nan]
        at = lambda share: norms[min(len(norms) - 1, int(share * len(norms)))]
        last = steps[-max(1, len(steps) // 20):]
        rates = [s["tokens_per_second"] for s in steps[len(steps) // 2:]]
        count = lambda kind: sum(1 for event in events if event.get("event") == kind)
        return {"size": self.size, "variant": self.name, "seed": self.seed, "steps": len(steps),
                "status": "done" if code == 0 else "diverged", "valid_loss": f"{number(valid):.6f}",
                "train_loss": f"{statistics.fmean(number(s['loss']) for s in last):.6f}", "first_norm": f"{number(steps[0]['grad_norm']):.4g}",
                "norm_p50": f"{at(0.5):.4g}", "norm_p90": f"{at(0.9):.4g}", "norm_p99": f"{at(0.99):.4g}",
                "norm_max": f"{norms[-1]:.4g}", "spikes": count("spike"), "skips": count("skip"),
                "seconds": f"{time.monotonic() - self.begin:.1f}", "tokens_per_second": f"{statistics.median(rates):.0f}"}


def train_all(options):
    names = options.only or list(variants(options.size))
    for name in names:
        settings_of(name, options.size)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    done = {(row["size"], row["variant"], int(row["seed"])) for row in read_table(options.table)}
    others = {row["steps"] for row in read_table(options.table)
              if row["size"] == options.size and row["status"] == "done" and int(row["steps"]) != steps_of(options)}
    if others:
        sys.exit(f"recipe.py: {options.table} has runs of {', '.join(sorted(others))} steps, not {steps_of(options)}: give --steps, or another table")
    # All variants with one seed before the next seed: a table that is cut short compares what it has.
    left = [(name, seed) for seed in seeds for name in names if (options.size, name, seed) not in done]
    begin, slowest, running = time.monotonic(), 0, []
    print(f"recipe.py: {len(left)} runs are lacking, about {len(left) * SECONDS.get(options.size, 30)} seconds of one GPU one by one",
          file=sys.stderr)
    if options.dry_run:
        return
    folder = tempfile.mkdtemp(prefix="retain-recipe-")
    try:
        while left or running:
            while left and len(running) < options.jobs:
                wanted = slowest or SECONDS.get(options.size, 30) * options.jobs
                if time.monotonic() - begin + wanted > options.seconds:
                    print(f"recipe.py: {len(left)} runs are left for the next call", file=sys.stderr)
                    left = []
                    break
                idlest = min(range(options.gpus), key=lambda gpu: sum(run.gpu == gpu for run in running))
                running.append(Run(options, folder, *left.pop(0), idlest))
            for run in [run for run in running if run.process.poll() is not None]:
                row = run.row()
                append_row(options.table, row)
                slowest = max(slowest, float(row["seconds"]))
                print(f"recipe.py: {run.name}, seed {run.seed}: {row['valid_loss']} in {row['seconds']} s", file=sys.stderr)
                running.remove(run)
                shutil.rmtree(run.folder)
            time.sleep(0.05)
    finally:
        for run in running:
            run.process.terminate()
            run.process.wait()
        shutil.rmtree(folder)


# Student's t at 97.5 %, by degrees of freedom.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def report(rows):
    for size in dict.fromkeys(row["size"] for row in rows):
        mine = [row for row in rows if row["size"] == size]
        losses = {}
        for row in mine:
            losses.setdefault(row["variant"], {})[row["seed"]] = float(row["valid_loss"])
        print(f"{size}: {mine[0]['steps']} steps; loss in nats a token of the validation set; 95 % intervals over seeds, of the\n"
              "difference to the default by pairs of one seed; gradient norms of all steps\n")
        print("| variant | seeds | loss | minus default | norm: first | p50 | p90 | p99 | largest | spikes | skips | diverged |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for variant in losses:
            print(line_of(variant, [row for row in mine if row["variant"] == variant], losses))
        print()


def with_interval(values, sign=""):
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:{sign}.4f}"
    half = T.get(len(values) - 1, 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:{sign}.4f} ± {half:.4f}"


def line_of(variant, rows, losses):
    of = losses[variant]
    base = losses.get("default", {})
    differences = [] if variant == "default" else [of[seed] - base[seed] for seed in of if seed in base]
    middle = lambda field: f"{statistics.median(float(row[field]) for row in rows):.3g}"
    total = lambda field: sum(int(row[field]) for row in rows)
    return "| " + " | ".join(
        [variant, str(len(rows)), with_interval(list(of.values())), with_interval(differences, "+"), middle("first_norm"),
         middle("norm_p50"), middle("norm_p90"), middle("norm_p99"), f"{max(float(row['norm_max']) for row in rows):.3g}",
         str(total("spikes")), str(total("skips")), str(sum(row["status"] == "diverged" for row in rows))]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retain", nargs="?")
    parser.add_argument("train", nargs="?")
    parser.add_argument("valid", nargs="?")
    parser.add_argument("table", nargs="?")
    parser.add_argument("--size", choices=SIZES, default="25m")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=0, help="1,000 if not given; 40 of tiny")
    parser.add_argument("--only", action="append", default=[], help="this variant; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="of every run, such as data.tokenizer=gpt2")
    parser.add_argument("--jobs", type=int, default=3, help="runs at the same time")
    parser.add_argument("--gpus", type=int, default=1, help="that they take turns on")
    parser.add_argument("--seconds", type=float, default=540, help="of this call")
    parser.add_argument("--dry-run", action="store_true", help="say what is lacking")
    parser.add_argument("--report", metavar="TABLE.csv")
    options = parser.parse_args()
    if options.report:
        return report(read_table(options.report))
    if not options.table:
        parser.error("give RETAIN, SET_TRAIN, SET_VALID and TABLE.csv")
    for name in ("retain", "train", "valid", "table"):
        setattr(options, name, os.path.abspath(getattr(options, name)))
    train_all(options)
    report(read_table(options.table))


main()
