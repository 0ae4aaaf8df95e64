# Under --supervise a random rank is killed every 20 s, for three minutes. At least three quarters of the time go into steps
# that count, and the run ends with the loss and the weights of one that nobody disturbed, to the last bit.
. "$(dirname "$0")/common.sh"
export OMPI_MCA_btl=self,tcp  # shared memory segments of killed ranks would stay behind
RANDOM=${RETAIN_SEED:-$$}
echo "seed $RANDOM"
seconds=${RETAIN_SECONDS:-180}
# Steps of 30 to 110 ms, saved every tenth (checkpoint.every: 10), so that a death costs half a second of them: most of its
# 4.4 s are mpirun's end and another start.
sed -i 's/hidden_size: 32, heads: 4, ffn_size: 48/hidden_size: 96, heads: 4, ffn_size: 192/; s/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 1Mi, batch_tokens: 2048, micro_batch_tokens: 512/; s/every: 10, keep: 10/every: 10, keep: 3/; s/eval: {every: 20/eval: {every: 0/; s/kind: cosine/kind: constant/' tiny.yaml
"$retain" launch tiny.yaml --ranks-per-node 2 --scheduler mpirun --set run.dir=trial --set train.tokens=$((2048 * 100)) >trial.log 2>&1 || fail "$(cat trial.log)"
median() { python3 -c 'import json, statistics; print(statistics.median(m["step_seconds"] for m in map(json.loads, open("trial/metrics.jsonl")) if "loss" in m))'; }
steps=$(python3 -c "print(max(200, int(0.85 * $seconds / $(median))))")
sed -i "s/tokens: 1Mi/tokens: $((2048 * steps))/" tiny.yaml

"$retain" launch tiny.yaml --ranks-per-node 2 --supervise --set run.dir=disturbed >disturbed.log 2>&1 &
supervisor=$!
begin=$(date +%s.%N) since=$SECONDS kills=0
alive() { kill -0 $supervisor 2>/dev/null; }
while alive && [ $((SECONDS - since)) -lt "$seconds" ]; do
  for _ in $(seq 200); do alive || break; sleep 0.1; done
  victims=($(pgrep -f "^$retain train $work/disturbed/jobs/" || true))
  if alive && [ ${#victims[@]} = 2 ]; then kill -9 "${victims[RANDOM % 2]}" && kills=$((kills + 1)); fi
done
wait $supervisor || fail "the supervisor ended with $?: $(tail -n 20 disturbed.log)"
end=$(date +%s.%N)

python3 - disturbed "$begin" "$end" "$kills" <<'END' || fail "too much time was lost"
import json, sys
run, begin, end, kills = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
kept, redone = [], 0
for line in map(json.loads, open(f"{run}/metrics.jsonl")):
    if "resume" in line:
        before = len(kept)
        kept = [k for k in kept if k["step"] <= line["step"]]
        redone += before - len(kept)
    elif "loss" in line: kept.append(line)
share = sum(k["step_seconds"] for k in kept) / (end - begin)
print(f"{kills} kills in {end - begin:.0f} s: {share:.1%} of the time in {len(kept)} steps that count, {redone} steps done again")
sys.exit(0 if share >= 0.75 and kills > 0 else 1)
END
"$retain" launch tiny.yaml --ranks-per-node 2 --scheduler mpirun --set run.dir=whole >whole.log 2>&1 || fail "$(cat whole.log)"
[ "$(losses whole | tail -n 1)" = "$(losses disturbed | tail -n 1)" ] || fail "another loss in the end"
[ "$(digest whole)" = "$(digest disturbed)" ] || fail "other weights"
echo passed
