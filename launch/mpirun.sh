#!/usr/bin/env bash
# Starts retain under mpirun with what root, few cores and containers need.
#   launch/mpirun.sh -n RANKS [--program PATH] [mpirun options --] VERB ARGUMENTS…
#   launch/mpirun.sh -n 4 train configs/demo.yaml --set parallel.tp=2 --set parallel.cp=2
#   launch/mpirun.sh -n 16 --hostfile hosts --map-by ppr:8:node -- train run.yaml
# The program is the one under build/ that was built last, or the installed one beside an installed script, unless --program
# names another; mpirun is that of the MPI which the program was built with, where its build folder tells, and else the first
# in PATH.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
refuse() { echo "mpirun.sh: $1" >&2; usage >&2; exit 64; }

# Everything up to `--` is mpirun's; without `--` the first word that is no option of ours begins the command.
ranks=
program=
options=()
separated=
for word in "$@"; do [ "$word" = -- ] && separated=yes; done
while [ $# -gt 0 ]; do
  case "$1" in
    -n | -np | --np) [ $# -ge 2 ] || refuse "$1 needs a number of ranks"; ranks=$2; shift 2 ;;
    --program) [ $# -ge 2 ] || refuse "--program needs a path"; program=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *)
      if [ -z "$separated" ]; then
        case "$1" in -*) refuse "options of mpirun such as '$1' need a '--' before the verb" ;; esac
        break
      fi
      options+=("$1")
      shift
      ;;
  esac
done
[[ "$ranks" =~ ^[1-9][0-9]*$ ]] || refuse "-n needs a number of ranks, got '$ranks'"
[ $# -gt 0 ] || refuse "no verb is given"

if [ -z "$program" ]; then
  program=$(ls -t "$root"/build/*/bin/retain 2>/dev/null | head -n 1 || true)
  [ -n "$program" ] || [ ! -x "$root/../../bin/retain" ] || program=$(realpath "$root/../../bin/retain")
fi
if [ ! -x "$program" ]; then
  echo "mpirun.sh: no program ${program:-under $root/build}; build it with: cmake --preset cpu && cmake --build --preset cpu" >&2
  exit 66
fi

if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
cores=$(env -u OMP_NUM_THREADS nproc)  # which obeys OpenMP's setting
# Binding is left to the operating system: two jobs started on one machine would both be bound to its first cores. Like nproc,
# mpirun counts hardware threads: a machine of one core with two of them takes two ranks.
arguments=(-n "$ranks" --bind-to none --use-hwthread-cpus)
if [ "$ranks" -gt "$cores" ]; then
  arguments+=(--oversubscribe --mca mpi_yield_when_idle 1)
fi
# In containers a process may not read another's memory, which hangs or kills the default shared-memory transport.
if [ -f /.dockerenv ] || [ -f /run/.containerenv ] || grep -qsE 'docker|containerd|lxc|kubepods' /proc/1/cgroup; then
  arguments+=(--mca btl_vader_single_copy_mechanism none)
fi
mpirun=$(sed -n 's/^MPIEXEC_EXECUTABLE:[A-Z]*=//p' "$(dirname "$program")/../CMakeCache.txt" 2>/dev/null || true)
[ -x "$mpirun" ] || mpirun=mpirun
exec "$mpirun" "${arguments[@]}" ${options[@]+"${options[@]}"} "$program" "$@"
