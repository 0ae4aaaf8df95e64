# A study from its file to runs.csv: killed in the middle and run again; a branch does what its trunk would have done; a
# cell that diverges or fails does not stop the others; what costs too much or runs already is refused.
. "$(dirname "$0")/common.sh"

cat >study.yaml <<'END'
study: {dir: studies/tiny, decay_branches: true}
base:
  model: {vocab_size: 257, init_std: 0.1}
  data: {tokenizer: bytes, train: [{path: text_train}], valid: {held: text_valid}, seq_len: 32}
  train: {batch_tokens: 256, micro_batch_tokens: 256, chunk: 16}
  eval: {every: 0, tokens: 512}
  optimizer: {lr: 3e-3}
  schedule: {kind: wsd, warmup: 5, decay_fraction: 0.2}
  checkpoint: {every: 20, keep: 2}
  log: {every: 20}
  device: cpu
sizes:
  - {name: S, layers: 1, hidden_size: 16, heads: 2, ffn_size: 32}
  - {name: M, layers: 2, hidden_size: 32, heads: 4, ffn_size: 48}
ladder: {tokens: [10k, 80k]}
END
study() { "$retain" study "$@" 2>>study.log; }
column() { awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }' "$1"; }

# The plan: the same twice, nothing written by --dry-run.
study plan study.yaml --dry-run >dry.txt
[ ! -e studies ] || fail "--dry-run wrote"
study plan study.yaml >plan.txt
diff dry.txt plan.txt
cp studies/tiny/plan.csv before.csv
study plan study.yaml >/dev/null
cmp before.csv studies/tiny/plan.csv
[ "$(grep -c . studies/tiny/plan.csv)" = 9 ] || fail "not 8 runs: $(cat studies/tiny/plan.csv)"

# kill -9 in the middle of a trunk; a second runner is refused while the first is there.
(exec "$retain" study run studies/tiny --max-jobs 1 >/dev/null 2>killed.log) &
queue=$!
until [ -e studies/tiny/LOCK ] && [ -s studies/tiny/cells/S-s1-leg250/metrics.jsonl ]; do
  kill -0 $queue 2>/dev/null || { cat killed.log; fail "the queue ended by itself"; }
  sleep 0.02
done
expect_code 73 "$retain" study run studies/tiny
grep -q 'is in use by process' out.txt || fail "not told why: $(cat out.txt)"
kill -9 $queue
wait $queue 2>/dev/null || true
study status studies/tiny >status.txt
grep -q '0 done' <(sed 's/.*cells: //' status.txt) || [ "$(grep -c 'cell' status.txt)" -ge 1 ] || fail "$(cat status.txt)"

# The same command goes on; what is done stays as it is.
study run studies/tiny --max-jobs 2 >status.txt || { cat study.log; fail "the rerun"; }
grep -q '4 cells: 4 done, 0 running, 0 failed, 0 diverged, 0 planned' status.txt || fail "$(cat status.txt)"
stamp=$(stat -c %Y studies/tiny/cells/M-d80k-s1/metrics.jsonl)
study run studies/tiny >/dev/null
[ "$stamp" = "$(stat -c %Y studies/tiny/cells/M-d80k-s1/metrics.jsonl)" ] || fail "a done cell was trained again"
study plan study.yaml >/dev/null || fail "the plan of a study that has begun"
cmp before.csv studies/tiny/plan.csv
"$retain" study status studies/tiny --json | python3 -c 'import json, sys; s = json.load(sys.stdin); assert s["cells"]["done"] == 4 and s["spent_gpu_hours"] > 0, s'

# A branch is what the trunk would have done next: the loss of its first step is the trunk's next, to the last bit.
first() { grep '"loss"' "$1/metrics.jsonl" | head -1 | sed -E 's/^\{"step":([0-9]+),.*"loss":([^,]*),.*/\1 \2/'; }
for size in S M; do
  cells=studies/tiny/cells
  [ "$(first $cells/$size-d10k-s1)" = "$(first $cells/$size-s1-leg250)" ] ||
    fail "$size: the branch begins with $(first $cells/$size-d10k-s1), the trunk goes on with $(first $cells/$size-s1-leg250)"
done
# And trunk and branch are together one run of that schedule from its beginning, to the last bit of every weight.
sed 's/decay_branches: true/decay_branches: false/; s#studies/tiny#studies/whole#' study.yaml >whole.yaml
study run whole.yaml --only M-d80k-s1 >/dev/null
[ "$(digest studies/whole/cells/M-d80k-s1)" = "$(digest studies/tiny/cells/M-d80k-s1)" ] || fail "a branch is another run"

study collect studies/tiny --out runs.csv
[ "$(column runs.csv status | sort | uniq -c | xargs)" = "4 done" ] || fail "$(cat runs.csv)"
[ "$(column runs.csv schedule | sort -u)" = wsd ] || fail "trunks are no rows: $(cat runs.csv)"
column runs.csv loss | python3 -c 'import math, sys; assert all(0 < float(x) < 6 for x in sys.stdin)'

# In parts, on machines that keep nothing: a part has a time, what would not end in it is not begun, and what an earlier
# part finished is a row of runs.csv and is not trained again, nor are the legs that only it started from.
mkdir parts
sed 's#studies/tiny#parts/one#' study.yaml >part.yaml
expect_code 0 "$retain" study run part.yaml --only S-d10k-s1 --only M-d10k-s1
study collect parts/one --out parts.csv
[ "$(column parts.csv status | xargs)" = "done planned done planned" ] || fail "$(cat parts.csv)"
rm -r parts/one
study plan part.yaml >/dev/null
study status parts/one --runs parts.csv >status.txt
grep -q '4 cells: 2 done, .* 2 planned' status.txt || fail "$(cat status.txt)"
expect_code 0 "$retain" study run parts/one --runs parts.csv --dry-run
! grep -q 'd10k-s1.*config.yaml' out.txt || fail "a finished cell would be trained again: $(cat out.txt)"
expect_code 0 "$retain" study run parts/one --runs parts.csv --time 10m
grep -q '4 cells: 4 done' out.txt || fail "$(cat out.txt)"
[ ! -e parts/one/cells/S-d10k-s1/DONE ] || fail "a finished cell was trained again"
study collect parts/one --out parts.csv
for column in run_id params tokens flops loss status lr batch; do
  diff <(column runs.csv $column) <(column parts.csv $column) || fail "in parts: other $column"
done
cp parts.csv again.csv
study collect parts/one --out again.csv
cmp parts.csv again.csv || fail "a table that is collected twice"
sed -i 's/^\(S-d80k-s1,.*,\)[0-9.]*,held/\12.125,held/' again.csv
expect_code 65 "$retain" study collect parts/one --out again.csv
grep -q 'S-d80k-s1 on held has the loss 2.125 there and' out.txt || fail "$(cat out.txt)"
sed 's/lr: 3e-3/lr: 2e-3/; s#parts/one#parts/other#' part.yaml >other.yaml
expect_code 78 "$retain" study run other.yaml --runs parts.csv
grep -q 'S-d10k-s1 was trained with lr 0.003 instead of 0.002' out.txt || fail "$(cat out.txt)"

# A cell that no part seems to have the time for is begun all the same by a part that has begun nothing, and saved when
# the time is over: the same command again always comes further.
sed 's#studies/tiny#parts/slow#' study.yaml >slow.yaml
echo 'machine: {rates: [{parameters: 12k, tokens_per_second: 10k}, {parameters: 40k, tokens_per_second: 110}]}' >>slow.yaml
expect_code 0 "$retain" study run slow.yaml --time 100s --only M-d10k-s1
expect_code 0 "$retain" study run parts/slow --time 100s --only S-d10k-s1
sed 's#studies/tiny#parts/endless#; s/tokens: \[10k, 80k\]/tokens: [400M]/' study.yaml >endless.yaml
expect_code 75 "$retain" study run endless.yaml --time 2s --max-jobs 1
grep -q 'S-s1-leg1250000 saved and ended' out.txt || fail "$(cat out.txt)"
[ -e parts/endless/cells/S-s1-leg1250000/checkpoints/latest ] || fail "nothing was saved at the end of the time"

# A rate that cannot work: the cells that it is given to are recorded as diverged, the others are done, and a study run
# that follows tries none of them again.
sed 's#studies/tiny#studies/wild#; s/sizes:/rules: {lr: {coefficient: 1e-40, exponent_params: 10, min: 3e-3}}\nsizes:/' study.yaml >wild.yaml
study run wild.yaml --max-jobs 2 >status.txt || { cat status.txt; fail "a diverged cell stopped the study"; }
study collect studies/wild --out wild.csv
[ "$(awk -F, '$1 ~ /^S/ { print $14 }' wild.csv | xargs)" = "done done" ] || fail "$(cat status.txt wild.csv)"
[ "$(awk -F, '$1 ~ /^M/ { print $14 $8 }' wild.csv | xargs)" = "diverged diverged" ] || fail "$(cat status.txt wild.csv)"
study run studies/wild >/dev/null || fail "a diverged cell is an error"
sed 's#studies/tiny#studies/wildest#; s/lr: 3e-3/lr: 1e30/' study.yaml >wildest.yaml
study run wildest.yaml --only S-s1-leg31 >status.txt || { cat status.txt; fail "1e30"; }
grep -q 'S-d80k-s1 *diverged .*it starts from S-s1-leg250, which diverged' status.txt || fail "$(cat status.txt)"

# What fails says why, and is tried again.
sed 's#studies/tiny#studies/broken#' study.yaml >broken.yaml
mv text_train.bin hidden.bin
study plan broken.yaml >/dev/null
expect_code 66 "$retain" study run studies/broken --only S-d10k-s1
grep -q 'S-s1-leg31 failed: exit 66: .*text_train' out.txt || fail "$(cat out.txt)"
mv hidden.bin text_train.bin
expect_code 0 "$retain" study run studies/broken --only S-d10k-s1

# A change of what has begun is refused by key; so is a study over its budget, by cell.
sed 's/lr: 3e-3/lr: 1e-3/' study.yaml >changed.yaml
expect_code 78 "$retain" study plan changed.yaml
grep -q 'optimizer.lr: began with 0.003, the study now says 0.001' out.txt || fail "$(cat out.txt)"
(cat study.yaml; echo 'limits: {max_gpu_hours: 1e-6}') >dear.yaml
expect_code 78 "$retain" study plan dear.yaml
grep -q 'max_gpu_hours = 1e-06; most take M-s1-leg250' out.txt || fail "$(cat out.txt)"
(cat study.yaml; echo 'limits: {max_epochs: 0.5}') >often.yaml
expect_code 78 "$retain" study plan often.yaml
grep -q 'limits.max_epochs = 0.5: .*d80k-s1' out.txt || fail "$(cat out.txt)"

# Runs of two ranks: the same losses but for rounding.
sed 's#studies/tiny#studies/pairs#; s/micro_batch_tokens: 256/micro_batch_tokens: 128/' study.yaml >pairs.yaml
echo 'machine: {ranks: 2}' >>pairs.yaml
study run pairs.yaml --only S-d10k-s1 >status.txt || { cat status.txt studies/pairs/cells/S-s1-leg31/output.txt; fail "two ranks"; }
losses_near studies/pairs/cells/S-d10k-s1 studies/tiny/cells/S-d10k-s1

# SIGTERM lets the runs save; the queue ends with 75.
sed 's#studies/tiny#studies/asked#; s/tokens: \[10k, 80k\]/tokens: [4M]/' study.yaml >asked.yaml
code=0
(exec "$retain" study run asked.yaml --max-jobs 1 >/dev/null 2>asked.log) &
queue=$!
until [ -s studies/asked/cells/S-s1-leg12500/metrics.jsonl ]; do sleep 0.02; done
kill -TERM $queue
wait $queue || code=$?
[ $code = 75 ] || { cat asked.log; fail "TERM gave exit $code"; }
[ -e studies/asked/cells/S-s1-leg12500/checkpoints/latest ] || fail "nothing was saved"

# Measured rates are lines that machine.rates takes.
"$retain" study rates study.yaml --seconds 1 >rates.yaml
[ "$(grep -c '^  - {parameters: [0-9]*, tokens_per_second: [1-9][0-9]*}' rates.yaml)" = 2 ] || fail "$(cat rates.yaml)"
(sed 's#studies/tiny#studies/measured#' study.yaml; echo "machine:"; sed 's/^/  /' rates.yaml) >measured.yaml
study plan measured.yaml --dry-run >/dev/null || fail "rates as they were printed"

# The text for Slurm: a task for each trunk with its branches.
"$retain" study run studies/asked --scheduler slurm --dry-run >array.sbatch 2>/dev/null
bash -n array.sbatch
grep -q '^#SBATCH --array=0-1$' array.sbatch || fail "$(cat array.sbatch)"
echo passed
