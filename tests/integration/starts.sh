# How a run begins: the same alone and on ranks, never as copies that know nothing of each other, and with all ranks alike; what
# it says of where its ranks are and how long the start took; and what launch/mpirun.sh makes of its options.
. "$(dirname "$0")/common.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpi="$(sed -n 's/^MPIEXEC_EXECUTABLE:[A-Z]*=//p' "$2/../CMakeCache.txt") --oversubscribe --bind-to none"
said() { grep -qE -- "$1" out.txt || fail "'$1' is not in: $(cat out.txt)"; }
once() { [ "$(grep -cE -- "$1" out.txt)" = 1 ] || fail "'$1' is not said once: $(cat out.txt)"; }

# ---- what srun does where MPI is not wired up: four tasks, each alone. Not one begins ----
for task in 0 3; do
  expect_code 69 env SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=$task "$retain" train tiny.yaml
  [ $task = 3 ] || said 'srun started 4 processes.*srun --mpi=pmix'
  [ $task = 0 ] || [ ! -s out.txt ] || fail "a second task speaks: $(cat out.txt)"
  expect_code 69 env PMI_RANK=$task PMI_SIZE=4 PMI_JOBID=77.0 SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=$task \
    "$retain" eval run --data a=text_valid
done
expect_code 69 env RANK=0 WORLD_SIZE=2 TORCHELASTIC_RUN_ID=none "$retain" train tiny.yaml
said 'torchrun started 2 processes'
[ ! -e run ] || fail "a run directory was made by one of many"
# A batch shell is one process, whatever the job was given.
expect_code 0 env SLURM_JOB_ID=77 SLURM_NTASKS=4 SLURM_PROCID=0 "$retain" train tiny.yaml --set run.dir=batch --set train.tokens=512

# ---- verbs of one process print no copies ----
for verb in "generate batch --prompt a --max-tokens 2" "checkpoint list batch" "data info text_valid"; do
  expect_code 64 ranks 2 $verb
  once 'works in one process, and .* started 2'
done
for n in 1 2; do
  expect_code 0 ranks $n eval batch --data held=text_valid
  once '^set=held'
done

# ---- ranks that were not started alike: 78 names rank, host, key and both values ----
expect_code 78 $mpi -n 1 "$retain" train tiny.yaml : -n 1 "$retain" train tiny.yaml --set optimizer.lr=0.5
once "rank 1 on $(hostname) has optimizer.lr = 0.5, and rank 0 on $(hostname) has not given"
expect_code 78 $mpi -n 1 "$retain" train tiny.yaml --set optimizer.lr=0.5 : -n 2 "$retain" train tiny.yaml --set optimizer.lr=0.1
once "rank 0 on $(hostname) has optimizer.lr = 0.5, and rank 1 on $(hostname) has 0.1"
expect_code 78 $mpi -n 1 "$retain" train tiny.yaml : -n 1 "$retain" plan tiny.yaml
once "argument 1 = plan, and rank 0 on $(hostname) has train"
python3 - "$retain" <<'END'  # another program: one bit of the hash that the linker left
import re, subprocess, sys
identity = re.search(r"Build ID: ([0-9a-f]+)", subprocess.run(["readelf", "-n", sys.argv[1]], capture_output=True, text=True).stdout)[1]
with open(sys.argv[1], "rb") as program, open("other", "wb") as other:
    whole, old = program.read(), bytes.fromhex(identity)
    assert whole.count(old) == 1
    other.write(whole.replace(old, bytes([old[0] ^ 1]) + old[1:]))
END
chmod +x other
expect_code 78 $mpi -n 1 "$retain" train tiny.yaml : -n 1 ./other train tiny.yaml
once "rank 1 on $(hostname) has build = .*, and rank 0 on $(hostname) has "
[ ! -e run ] || fail "a run directory was made by ranks that disagree"
if unshare -m true 2>/dev/null; then  # other data of the same size, there alone
  tr 'a' 'b' <text_train.bin >other.bin
  expect_code 78 $mpi -n 1 "$retain" train tiny.yaml : -n 1 unshare -m sh -c 'mount --bind other.bin text_train.bin; exec "$@"' - "$retain" train tiny.yaml
  said "rank 1: host $(hostname): .*text_train.bin is another file than rank 0 reads: .* is [0-9]+, there [0-9]+"
  [ ! -e run/checkpoints ] && [ ! -e run/FAILED ] || fail "a run was begun by ranks that disagree"
fi

# ---- where the ranks are, and how long the start took ----
SLURM_JOB_ID=77 ranks 2 train tiny.yaml --set parallel.tp=2 --set train.tokens=512 >out.txt 2>&1
said "ranks on 1 machine; within a machine: tp"
said "the start took [0-9.]+ s: program .*MPI .*configuration .*data .*devices .*model .*checkpoint .*first step "
python3 - "$(hostname)" <<'END' || fail "environment.json or events.jsonl: $(cat run/environment.json run/events.jsonl)"
import json, sys
environment = json.load(open("run/environment.json"))
assert environment["machines"] == [{"host": sys.argv[1], "ranks": "0-1"}] and environment["ranks"] == 2, environment
assert environment["job"] == {"SLURM_JOB_ID": "77"} and "Open MPI" in environment["mpi"], environment
assert environment["commit"] and len(environment["build"]) >= 16, environment
started = [e for e in map(json.loads, open("run/events.jsonl")) if e["event"] == "started"]
parts = ["program", "MPI", "configuration", "data", "devices", "model", "checkpoint", "first step"]
assert len(started) == 1 and started[0]["step"] == 1 and all(p in started[0] for p in parts), started
END

# ---- launch/mpirun.sh: an mpirun that shows what it is asked for ----
mkdir -p tools/bin alone/bin
cat >tools/mpirun <<'END'
#!/bin/sh
[ "$1" = --version ] && { echo "${MPIRUN_IS:-mpirun (Open MPI) 4.1.4}"; exit; }
echo "asked: $*"
END
printf '#!/bin/sh\nfor cpu in 0 1 2 3 4 5 6 7; do case $1 in *NODE) echo $((cpu / 4)) ;; *) echo $cpu ;; esac; done\n' >tools/lscpu
printf '#!/bin/sh\necho ${PROCESSORS:-8}\n' >tools/nproc
chmod +x tools/*
cp "$retain" alone/bin/retain
asks() { env -u LD_LIBRARY_PATH PATH="$work/tools:$PATH" ${with:-} "$source_dir/launch/mpirun.sh" --program alone/bin/retain "$@" >out.txt 2>&1; }
asks -n 8 train x.yaml
said 'asked: -n 8 --use-hwthread-cpus --map-by ppr:4:numa --bind-to numa .*alone/bin/retain train x.yaml'
said '4 ranks on each of 2 NUMA nodes'
asks -n 3 train x.yaml
said 'asked: -n 3 --use-hwthread-cpus --bind-to none '
with=PROCESSORS=2 asks -n 8 train x.yaml
said '--bind-to none --oversubscribe --mca mpi_yield_when_idle 1 '
for hosts in "--hostfile hosts" "-H a:8,b:8" "--map-by ppr:8:node" "-N 8"; do
  with=PROCESSORS=2 asks -n 16 $hosts -- train x.yaml
  ! grep -q oversubscribe out.txt || fail "$hosts: $(cat out.txt)"
done
with="NCCL_DEBUG=INFO OMP_NUM_THREADS=1 OTHER=1" asks -n 3 -x NCCL_DEBUG=WARN -- train x.yaml
said ' -x OMP_NUM_THREADS .*-x NCCL_DEBUG=WARN '
! grep -qE 'OTHER|NCCL_DEBUG -|NCCL_DEBUG .*NCCL' out.txt || fail "passed on: $(cat out.txt)"
with="MPIRUN_IS=HYDRA" asks -n 3 train x.yaml && fail "MPICH's mpirun was used" || [ $? = 69 ]
said "is not Open MPI's: it says 'HYDRA'"
# Of builds one for use is taken, though another is newer.
mkdir -p tree/launch tree/build/{asan,cpu,cuda}/bin
cp "$source_dir/launch/mpirun.sh" tree/launch
for build in cuda cpu asan; do cp "$retain" tree/build/$build/bin/; done
touch -d '1 hour ago' tree/build/cuda/bin/retain
PATH="$work/tools:$PATH" tree/launch/mpirun.sh -n 3 train x.yaml >out.txt 2>&1
said 'build/cpu/bin/retain train'
RETAIN=tree/build/asan/bin/retain PATH="$work/tools:$PATH" tree/launch/mpirun.sh -n 3 train x.yaml >out.txt 2>&1
said 'build/asan/bin/retain train'

# What killed ranks left in shared memory goes, unless somebody has it mapped or it is new.
left() { echo "/dev/shm/vader_segment.$(hostname -s).test-$$-$1.0"; }
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work" "$(left dead)" "$(left live)" "$(left new)"' EXIT
for kind in dead live new; do head -c 4096 /dev/zero >"$(left $kind)"; done
python3 -c 'import mmap, sys, time
with open(sys.argv[1], "r+b") as file: segment = mmap.mmap(file.fileno(), 4096)
print("mapped", flush=True)
time.sleep(60)' "$(left live)" >mapped.txt &
until [ -s mapped.txt ]; do sleep 0.01; done
touch -d '1 hour ago' "$(left dead)" "$(left live)"
asks -n 3 train x.yaml
[ ! -e "$(left dead)" ] && [ -e "$(left live)" ] && [ -e "$(left new)" ] || fail "shared memory: $(ls /dev/shm)"

# Signals: from the first instant of a start on the first makes the run end with 75, and a second one ends it at once.
caught() { local mask; mask=$(sed -n 's/^SigCgt:\s*//p' "/proc/$1/status") && (((0x$mask >> ($2 - 1)) & 1)); }
launch() {  # RUN_DIR: endless, in the background, where bash would have INT ignored
  env --default-signal=INT "$source_dir/launch/mpirun.sh" --program "$retain" -n 2 train tiny.yaml --set run.dir="$1" --set train.tokens=1Gi \
    --set checkpoint.every=0 --set eval.every=0 >out.txt 2>&1 &
  launcher=$!
  until grep -q mpirun.sh /proc/$launcher/cmdline && caught $launcher 12; do sleep 0.01; done  # USR2, the last of its traps
}
ends_with() { local code=0; wait $launcher || code=$?; [ $code = "$1" ] || fail "$2: exit $code: $(cat out.txt)"; }
for signal in INT TERM HUP USR1; do
  launch at_once$signal
  kill -$signal $launcher
  ends_with 75 "$signal at once"
done
launch twice
until [ "$(lines twice/metrics.jsonl)" -gt 2 ]; do sleep 0.01; done
kill -STOP $(pgrep -x retain -P "$(pgrep -x -d , -P $launcher 'mpi.*|orterun')")  # so that they do not end before
kill -INT $launcher
until grep -q 'the same signal again' out.txt; do sleep 0.01; done
kill -INT $launcher
ends_with 130 "INT twice"
echo passed
