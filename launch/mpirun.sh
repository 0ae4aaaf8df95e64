#!/usr/bin/env bash
# Starts retain under mpirun with what root, few cores and containers need.
#   launch/mpirun.sh -n RANKS [mpirun options] VERB ARGUMENTS…
#   launch/mpirun.sh -n 4 train configs/demo.yaml --set parallel.tp=2 --set parallel.cp=2
# The program is build/cuda/bin/retain or build/cpu/bin/retain, whichever was built last.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64; }
ranks=
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -n | -np) [ $# -ge 2 ] || usage; ranks=$2; shift 2 ;;
    -h | --help) usage ;;
    -H | --host | --hostfile | -x | --map-by | --bind-to) options+=("$1" "$2"); shift 2 ;;
    --mca) options+=("$1" "$2" "$3"); shift 3 ;;
    -*) options+=("$1"); shift ;;
    *) break ;;
  esac
done
[[ "$ranks" =~ ^[1-9][0-9]*$ ]] || usage
[ $# -gt 0 ] || usage

program=$(ls -t "$root"/build/{cuda,cpu}/bin/retain 2>/dev/null | head -n 1 || true)
if [ -z "$program" ]; then
  echo "mpirun.sh: no program under $root/build; build it with: cmake --preset cpu && cmake --build --preset cpu" >&2
  exit 66
fi

if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
cores=$(nproc)
# Binding is left to the operating system: two jobs started on one machine would both be bound to its first cores.
arguments=(-n "$ranks" --bind-to none)
if [ "$ranks" -gt "$cores" ]; then
  arguments+=(--oversubscribe --mca mpi_yield_when_idle 1)
fi
# In containers a process may not read another's memory, which hangs or kills the default shared-memory transport.
if [ -f /.dockerenv ] || [ -f /run/.containerenv ] || grep -qsE 'docker|containerd|lxc|kubepods' /proc/1/cgroup; then
  arguments+=(--mca btl_vader_single_copy_mechanism none)
fi
exec mpirun "${arguments[@]}" ${options[@]+"${options[@]}"} "$program" "$@"
