# A table of runs becomes a law, predictions, figures and a report, by the commands that the pages show.
. "$(dirname "$0")/common.sh"

# Runs of a law with a little noise, three seeds at one cell, one that diverged and one that is not done.
python3 - <<'END'
import math, random
random.seed(7)
rows = ["run_id,params,params_non_embedding,params_blocks,tokens,flops,flops_6nd,loss,eval_set,seed,schedule,lr,batch,status"]
def row(name, n, d, seed, status="done"):
    loss = (1.7 + 400 / n**0.34 + 1500 / d**0.37) * math.exp(random.gauss(0, 0.002))
    if status != "done": loss = ""
    rows.append(f"{name},{n:.0f},{n * 0.9:.0f},{n * 0.8:.0f},{d:.0f},{6 * n * d:.6g},{6 * n * d:.6g},{loss},book,{seed},wsd,1e-3,65536,{status}")
for budget in (1e18, 3e18, 1e19, 3e19, 1e20):
    best = 0.09 * budget**0.5
    for factor in (0.15, 0.3, 0.6, 1, 1.8, 3.5, 7):
        n = best * factor
        row(f"c{budget:.0e}x{factor}", n, budget / (6 * n), 1)
for seed in (2, 3): row(f"again{seed}", 0.09 * 1e9, 1e18 / (6 * 0.09 * 1e9), seed)
row("lost", 1e8, 1e9, 1, "diverged")
row("later", 1e9, 1e10, 1, "planned")
open("runs.csv", "w").write("\n".join(rows) + "\n")
END

mkdir study
mv runs.csv study
expect_code 0 "$retain" study fit study/runs.csv --bootstrap 200 --starts 20 --seed 3 --threads 1
cp study/fit.json one.json
grep -q '^# A scaling law from 37 runs' out.txt || fail "$(cat out.txt)"
grep -q 'diverged-runs.*(lost)' out.txt || fail "no word of what diverged: $(cat out.txt)"
python3 - <<'END' || fail "fit.json"
import json
fit = json.load(open("study/fit.json"))
for key in ("form", "gamma", "alpha", "beta", "E", "A", "B", "objective", "n", "warnings", "forms", "options", "version"): assert key in fit, key
assert abs(fit["alpha"] - 0.34) < 0.05 and abs(fit["beta"] - 0.37) < 0.05, fit["alpha"]
low, high = fit["intervals"]["alpha"]["p2.5"], fit["intervals"]["alpha"]["p97.5"]
assert low < fit["alpha"] < high and high - low < 0.2
assert fit["n"] == 37 and {row["run_id"] for row in fit["excluded"]} == {"lost", "later"}
assert set(fit["countings"]) == {"all", "non-embedding", "blocks"} and "seed_sigma" in fit
assert isinstance(fit["warnings"], list)
END

# ---- equal on any number of threads, and by the command that the report prints ----
expect_code 0 "$retain" study fit study/runs.csv --bootstrap 200 --starts 20 --seed 3 --threads 2 --out two.json
cmp one.json two.json || fail "two threads give another fit.json"
again=$(sed -n '/^## To repeat it/,$s/^    retain \(.*\)/\1/p' <("$retain" study report study))
expect_code 0 sh -c "exec '$retain' $again --out three.json"
cmp one.json three.json || fail "the printed command gives another fit.json: $again"

# ---- predictions ----
expect_code 0 "$retain" study predict study/fit.json --params 6.7B --tokens 100B
grep -qE '^loss of a run +2\.[0-9]+ +80 % \[.*95 % \[' out.txt || fail "$(cat out.txt)"
"$retain" study predict study/fit.json --flops 1e21 --json >best.json
python3 - <<'END' || fail "$(cat best.json)"
import json
best = json.load(open("best.json"))
n, d = best["params"]["value"], best["tokens"]["value"]
assert abs(6 * n * d / 1e21 - 1) < 1e-9 and best["params"]["95%"][0] < n < best["params"]["95%"][1]
assert best["loss"]["95%"][0] < best["loss"]["80%"][0] < best["loss"]["value"] < best["loss"]["95%"][1]
END

# ---- figures: with gnuplot all of them in both formats, without it what it would read ----
figures="isoflop optimal_params optimal_tokens contours residuals bootstrap compute"
mkdir empty
ln -s "$(command -v sh)" empty/sh
expect_code 0 env PATH="$work/empty" "$retain" study plot study/runs.csv study/fit.json --out bare
grep -q 'no gnuplot here: bare holds the data and the scripts' out.txt || fail "$(cat out.txt)"
for name in $figures; do [ -s bare/$name.gnuplot ] || fail "no script $name"; done
if command -v gnuplot >/dev/null; then
  expect_code 0 "$retain" study plot study/runs.csv study/fit.json
  ! grep -qi warning out.txt || fail "gnuplot: $(cat out.txt)"
  for name in $figures; do
    [ -s study/figures/$name.svg ] && [ -s study/figures/$name.png ] || fail "no figure $name"
    grep -q '</svg>' study/figures/$name.svg || fail "a torn figure $name"
  done
  expect_code 0 "$retain" study report study
  for name in $figures; do grep -q "(figures/$name.svg)" out.txt || fail "the report lacks $name"; done
fi

# ---- what is refused, with the place and the remedy ----
expect_code 66 "$retain" study fit nothing.csv
printf 'params,tokens,loss\n1e6,1e8,3\n1e7,x,2\n' >bad.csv
expect_code 65 "$retain" study fit bad.csv
grep -q "bad.csv:3:5: found 'x' in column 'tokens', want a positive number" out.txt || fail "$(cat out.txt)"
printf 'Size,FLOP,L\n1e6,1e15,3\n' >other.csv
expect_code 65 "$retain" study fit other.csv
grep -q "name the right one with --map N=COLUMN" out.txt || fail "$(cat out.txt)"
expect_code 65 "$retain" study fit other.csv --map N=Size,C=FLOP,L=L
grep -q '1 runs with a loss, and a law of five constants takes at least 8' out.txt || fail "$(cat out.txt)"
echo '# changed' >>study/runs.csv
expect_code 65 "$retain" study plot study/runs.csv study/fit.json
grep -q "not the table that study/fit.json was fitted to" out.txt || fail "$(cat out.txt)"
echo '{}' >bad.json
expect_code 65 "$retain" study predict bad.json --flops 1e20
echo passed
