# Published tables of runs, loaded as they are by --map, beside the constants that their authors print. The tables are
# other people's: RETAIN_PUBLISHED is a folder with clones of the repositories on GitHub that hold them,
#   epoch-research/analyzing-chinchilla   Besiroglu et al. 2404.10102: 245 runs of Hoffmann et al. 2203.15556, off a figure
#   Open-Athena/scaling-law-analysis      2603.22339: isoFLOP tables of Hoffmann et al., Llama 3, and others
#   mlfoundations/scaling                 Gadre et al. 2403.08540: 104 runs as JSON
# Each that is missing is left out.
. "$(dirname "$0")/common.sh"
published=${RETAIN_PUBLISHED:-}
[ -d "$published" ] || { echo "skipped: RETAIN_PUBLISHED names no folder of published tables"; exit 77; }
fit() { expect_code 0 "$retain" study fit "$@" --out "$work/fit.json" --bootstrap 1000; }
# check TEXT: python that is given fit.json as `fit`, and near(NAME, VALUE, ERROR), which prints both
check() {
  python3 - "$1" <<'END' || fail "$1"
import json, sys
fit = json.load(open("fit.json"))
names = {warning["name"] for warning in fit["warnings"]}
def near(name, published, error):
    ours = fit[name]
    print(f"  {name}: {ours:.5g}, published {published:g} ± {error:g}")
    assert abs(ours - published) <= error, name
def inside(what, interval, published):
    print(f"  {what}: [{interval['p2.5']:.4g}, {interval['p97.5']:.4g}], published {published:g}")
    assert interval["p2.5"] <= published <= interval["p97.5"], what
exec(sys.argv[1])
END
}
tried=0

runs=$published/analyzing-chinchilla/data/svg_extracted_data.csv
if [ -e "$runs" ]; then
  tried=$((tried + 1))
  echo "Besiroglu et al. 2024, table 1 (and data_analysis.ipynb beside the table): 240 runs, without the five of largest loss"
  limit=$(python3 -c 'import csv, sys; print(sorted(float(r["loss"]) for r in csv.DictReader(open(sys.argv[1])))[-5])' "$runs")
  fit "$runs" --map "N='Model Size',C='Training FLOP',L=loss" --only "loss<$limit" --form chinchilla
  check '
assert fit["n"] == 240
print("  objective: %.9g, of 4,500 starts of Ceres on this table 1.018274018e-3" % fit["objective"])
assert abs(fit["objective"] / 1.018274018e-3 - 1) < 1e-6
near("E", 1.8172, 0.03); near("A", 482.01, 124.58); near("B", 2085.43, 1293.23)
near("alpha", 0.3478, 0.02); near("beta", 0.3658, 0.02)
inside("a", fit["exponents"]["parametric"]["a_interval"], 0.5126)
# As they found, the constants that Hoffmann et al. print are not those of their runs.
assert not fit["intervals"]["E"]["p2.5"] <= 1.69 <= fit["intervals"]["E"]["p97.5"]
assert not fit["intervals"]["beta"]["p2.5"] <= 0.28 <= fit["intervals"]["beta"]["p97.5"]'
  echo "the same with all 245 runs: outliers are named"
  fit "$runs" --map "N='Model Size',C='Training FLOP',L=loss" --form chinchilla
  check 'assert "outliers" in names, names'
fi

tables=$published/scaling-law-analysis/data/isoflops/extract
if [ -e "$tables/epochai_chinchilla/isoflops.csv" ]; then
  tried=$((tried + 1))
  echo "Hoffmann et al. 2022, table 2, approach 2: a 0.49 (0.462, 0.534), b 0.51"
  fit "$tables/epochai_chinchilla/isoflops.csv" --map N=params,D=tokens,C=budget,L=loss
  check '
e = fit["exponents"]["isoflop"]
inside("a", e["a_interval"], 0.49); inside("b", e["b_interval"], 0.51)
assert abs(e["a"] - 0.49) < 0.03'
fi
if [ -e "$tables/llama_3/isoflops.csv" ]; then
  tried=$((tried + 1))
  echo "Llama 3 (2407.21783), figure 3: D* ~ C^0.537 by isoFLOP minima (section 3.2.1 rounds to 0.53)"
  fit "$tables/llama_3/isoflops.csv" --map N=params,D=tokens,C=budget,L=loss --only condition=raw_loss
  check '
e = fit["exponents"]["isoflop"]
inside("b", e["b_interval"], 0.537)
assert abs(e["b"] - 0.537) < 0.005, e["b"]'
fi
if [ -e "$tables/misfitting/isoflops.csv" ]; then
  tried=$((tried + 1))
  echo "a table with budgets that show no minimum: warned of"
  fit "$tables/misfitting/isoflops.csv" --map N=params,D=tokens,C=budget,L=loss
  check 'print("  ", sorted(names)); assert {"no-minimum", "minimum-at-edge", "outliers"} <= names, names'
fi

models=$published/scaling/exp_data/models
if [ -d "$models" ]; then
  tried=$((tried + 1))
  echo "Gadre et al. 2024: 1.4 B at 640 tokens a parameter and 6.9 B predicted from runs up to 0.41 B; theirs err by 0.7 %"
  python3 - "$models" <<'END'
import csv, glob, json, sys
table = csv.writer(open("gadre.csv", "w"))
table.writerow("run_id dataset params tokens loss".split())
for path in sorted(glob.glob(sys.argv[1] + "/*.json")):
    run = json.load(open(path))
    shape = run["hyperparameters"]
    losses = [result["loss"] for result in run["results"] if "c4_val" in str(result["val_data"])]
    table.writerow([run["name"], run["dataset_name"], shape["params"], shape["tokens"], losses[0] if losses else ""])
END
  fit gadre.csv --form gadre --only dataset=rpj --only 'params<1e9'
  for run in rpj-open_lm_1b-32.0 rpj-open_lm_7b-1.0; do
    read -r n d loss < <(awk -F, -v run=$run '$1 == run { print $3, $4, $5 }' gadre.csv | tr -d '\r')
    "$retain" study predict fit.json --params "$n" --tokens "$d" --json >predicted.json
    python3 - "$run" "$loss" <<'END' || fail "the prediction of $run"
import json, sys
p, measured = json.load(open("predicted.json"))["loss"], float(sys.argv[2])
error = p["value"] / measured - 1
print(f"  {sys.argv[1]}: predicted {p['value']:.4f} [{p['95%'][0]:.4f}, {p['95%'][1]:.4f}], measured {measured:.4f}: {100 * error:+.2f} %")
assert abs(error) < 0.02
END
  done
fi
[ $tried -gt 0 ] || { echo "skipped: none of the repositories is in $published"; exit 77; }
echo passed
