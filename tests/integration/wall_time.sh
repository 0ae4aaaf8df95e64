# A run ends before its job does, with a checkpoint and 75: by Slurm's variable, by scontrol, by the configuration.
. "$(dirname "$0")/common.sh"
sed -i 's/tokens: 10240, batch_tokens: 256, micro_batch_tokens: 64/tokens: 6400000, batch_tokens: 64, micro_batch_tokens: 32/; s/every: 10, keep: 10/every: 50, keep: 3/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
mkdir bin
cat >bin/scontrol <<'END_OF_SCRIPT'
#!/bin/sh
echo "$*" >>scontrol.log
[ ! -e hangs ] || sleep 60
echo "JobId=${4} JobName=x Requeue=1 Restarts=0 RunTime=00:59:44 TimeLimit=01:00:00 TimeMin=N/A"
END_OF_SCRIPT
chmod +x bin/scontrol

# ends_in_time RUN SOURCE COMMAND…: in less than the 16 s that it was given, with what was left and what is needed said
ends_in_time() {
  local run=$1 source=$2 begin=$SECONDS
  shift 2
  expect_code 75 timeout 60 "$@" --set run.dir=$run
  [ $((SECONDS - begin)) -lt 16 ] || fail "$run: it took $((SECONDS - begin)) s"
  grep -qE "info: wall time: 1[0-9] s are left by $source; a step takes 0.00 s, a save perhaps [0-9.]+ s; the run saves and ends when 1[0-9] s are left" $run/log.txt || fail "$(cat $run/log.txt)"
  tail -n 1 $run/log.txt | grep -qE "ended with exit code 75: asked to stop: the limit of wall time: 1[0-9] s are left by $source; a step takes [0-9.]+ s, a save (perhaps )?[0-9.]+ s;" || fail "$(cat $run/log.txt)"
  [ "$(tail -n 1 $run/events.jsonl | grep -o '"steps_of_start":"[0-9]*"' | tr -dc 0-9)" -gt 20 ] || fail "$run: no steps: $(cat $run/log.txt)"
}
ends_in_time configured 'limits.wall_time = 16' "$retain" train tiny.yaml --set limits.wall_time=16s
ends_in_time variable SLURM_JOB_END_TIME env SLURM_JOB_ID=12 SLURM_JOB_END_TIME=$(($(date +%s) + 16)) PATH="$work/bin:$PATH" "$source_dir/launch/mpirun.sh" --program "$retain" -n 2 train tiny.yaml
[ ! -e scontrol.log ] || fail "scontrol is asked although the end is known"
# Alone: an mpirun that is named by its path puts its own folder before PATH, and Slurm's programs may be there.
ends_in_time asked 'scontrol show job 12' env SLURM_JOB_ID=12 PATH="$work/bin:$PATH" "$retain" train tiny.yaml
[ "$(cat scontrol.log)" = "--oneliner show job 12" ] || fail "scontrol was asked for: $(cat scontrol.log)"

# One that does not answer is waited for for five seconds, and limits nothing; a variable of the past is not believed.
touch hangs
begin=$SECONDS
expect_code 0 env SLURM_JOB_ID=12 SLURM_JOB_END_TIME=1000000000 PATH="$work/bin:$PATH" "$retain" train tiny.yaml --set run.dir=unanswered --set train.tokens=640
[ $((SECONDS - begin)) -lt 20 ] || fail "scontrol is waited for"
grep -q 'SLURM_JOB_END_TIME = 1000000000 is no time to come' out.txt || fail "$(cat out.txt)"
! grep -q 'wall time:' unanswered/log.txt || fail "$(cat unanswered/log.txt)"
echo passed
