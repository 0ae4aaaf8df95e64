# A study as an array of a Slurm of two nodes (slurm_cluster.sh): each trunk with its branches is a task; one that is told to end
# saves, is queued again and goes on.
. "$(dirname "$0")/common.sh"
cluster=$work/cluster
. "$source_dir/tests/integration/slurm_cluster.sh"
trap 'cluster_down; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cluster_up || { echo "skipped: no Slurm can be started here"; exit 77; }
cat >study.yaml <<END
study: {dir: studies/array, decay_branches: true}
base:
  model: {vocab_size: 257, init_std: 0.1}
  data: {tokenizer: bytes, train: [{path: $work/text_train}], valid: {held: $work/text_valid}, seq_len: 32}
  train: {batch_tokens: 256, micro_batch_tokens: 256, chunk: 16}
  eval: {every: 0, tokens: 512}
  optimizer: {lr: 3e-3}
  schedule: {kind: wsd, warmup: 5, decay_fraction: 0.2}
  checkpoint: {every: 100, keep: 2}
  log: {every: 20}
  device: cpu
sizes:
  - {name: S, layers: 1, hidden_size: 16, heads: 2, ffn_size: 32}
  - {name: M, layers: 2, hidden_size: 32, heads: 4, ffn_size: 48}
ladder: {tokens: [200k, 2M]}
END
wait_until() {  # SECONDS WHAT COMMAND…
  local since=$SECONDS
  until "${@:3}"; do
    [ $((SECONDS - since)) -lt "$1" ] || { tail -n 40 studies/array/jobs/* 2>/dev/null; squeue; fail "not within $1 s: $2"; }
    sleep 0.2
  done
}
job=$("$retain" study run study.yaml --scheduler slurm 2>study.log | sed -n 's/^job \([0-9]*\):.*/\1/p')
[ -n "$job" ] || fail "not submitted: $(cat study.log)"
trains() { [ -s studies/array/cells/M-s1-leg6250/metrics.jsonl ]; }
wait_until 60 "the longer task trains" trains
scancel --batch --signal=USR1 "${job}_1"
again() { scontrol -o show job "${job}_1" | grep -q ' Restarts=1 .*JobState=\|JobState=.* Restarts=1 '; }
wait_until 60 "the task is queued again" again
done_all() { "$retain" study status studies/array 2>/dev/null | grep -q '4 cells: 4 done, 0 running, 0 failed, 0 diverged, 0 planned'; }
wait_until 240 "all cells are done" done_all
gone() { [ -z "$(squeue -h -j "$job" 2>/dev/null)" ]; }
wait_until 60 "the array has ended" gone
grep -q 'goes on' studies/array/jobs/0001-"${job}"_1.out || { cat studies/array/jobs/*.out; fail "the task did not go on with what it had saved"; }
"$retain" study run study.yaml --scheduler slurm 2>&1 | grep -q 'nothing is left to train' || fail "something is left"
"$retain" study collect studies/array --out runs.csv 2>/dev/null
[ "$(grep -c ',done,' runs.csv)" = 4 ] || fail "$(cat runs.csv)"
echo passed
