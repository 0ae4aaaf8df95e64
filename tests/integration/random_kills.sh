# SIGKILL of a random rank at a random instant, again and again: the same command goes on, and in the end losses and
# weights are those of a run that nobody disturbed. RETAIN_KILLS says how often (10). How far a run may come before its
# kill is counted in steps, not in time: ranks wait busily for each other, and on busy cores a step takes ten times as long.
. "$(dirname "$0")/common.sh"
export OMPI_MCA_btl=self,tcp  # shared memory segments of killed ranks would stay behind
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 3840, batch_tokens: 64, micro_batch_tokens: 32/; s/every: 10, keep: 10/every: 3, keep: 2/; s/eval: {every: 20/eval: {every: 25/; s/tokens: 512/tokens: 64/' tiny.yaml
want=${RETAIN_KILLS:-10}
RANDOM=${RETAIN_SEED:-$$}
echo "seed $RANDOM"
ranks 2 train tiny.yaml --set run.dir=whole >/dev/null 2>&1

kills=0 finished=0 rank0=0 in_start=0
compare() {
  diff <(losses whole) <(losses run) || fail "losses differ after $kills kills"
  for shard in whole/checkpoints/step-00000060/shard-*; do
    cmp "$shard" "run/checkpoints/step-00000060/$(basename "$shard")" || fail "weights differ after $kills kills"
  done
  finished=$((finished + 1))
  rm -rf run
}
while [ $kills -lt $want ]; do
  before=$(lines run/metrics.jsonl)
  steps=$((RANDOM % 30 - 5))  # before the kill; less than none: in the start
  "$source_dir/launch/mpirun.sh" --program "$retain" -n 2 train tiny.yaml >/dev/null 2>log &
  launcher=$!
  alive() { kill -0 $launcher 2>/dev/null; }
  both() { pgrep -x retain -P "$(pgrep -d , -P $launcher)" 2>/dev/null || true; }  # children of mpirun, which is the script's
  until [ "$(both | wc -l)" = 2 ] || ! alive; do sleep 0.01; done
  until [ "$(lines run/metrics.jsonl)" -ge $((before + steps)) ] || ! alive; do sleep 0.001; done
  sleep 0.$(printf %03d $((RANDOM % (steps < 0 ? 300 : 20))))
  made=$(($(lines run/metrics.jsonl) - before))
  victims=($(both))
  code=0
  if [ ${#victims[@]} = 2 ]; then
    victim=$((RANDOM % 2))
    kill -9 "${victims[$victim]}" 2>/dev/null && kills=$((kills + 1)) && rank0=$((rank0 + (victim == 0))) && in_start=$((in_start + (made == 0)))
  fi
  wait $launcher || code=$?
  # 69: the other rank was first to notice, and said that MPI failed.
  [ $code = 137 ] || [ $code = 69 ] || [ $code = 0 ] || { cat log; fail "exit $code"; }
  if [ $code = 0 ]; then compare; fi
done
[ ! -d run ] || ranks 2 train tiny.yaml >/dev/null 2>log || { cat log; fail "the last run"; }
[ ! -d run ] || compare
echo "$kills kills, $rank0 of them of rank 0, $in_start before a first step; $finished runs ended like the one that was not disturbed"
echo passed
