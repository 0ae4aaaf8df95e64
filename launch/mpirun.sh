#!/usr/bin/env bash
# Starts retain under Open MPI's mpirun with what root, few cores, sockets and containers need.
#   launch/mpirun.sh -n RANKS [--program PATH] [mpirun options --] VERB ARGUMENTS…
#   launch/mpirun.sh -n 4 train configs/demo.yaml --set parallel.tp=2 --set parallel.cp=2
#   launch/mpirun.sh -n 16 --hostfile hosts --map-by ppr:8:node -- train run.yaml
# Ctrl-C, TERM and HUP make the run save and end with 75, a second one ends it at once. launch/README.md says the rest.
set -euo pipefail

# A shell cannot trap what was ignored when it began, as some job runners leave USR1: begin again without.
ignored=$(sed -n 's/^SigIgn:\s*//p' /proc/$$/status 2>/dev/null || true)
if (((0x${ignored:-0} & 0x4a00) != 0)) && env --default-signal=USR1,USR2,TERM true 2>/dev/null; then  # bits of the three
  exec env --default-signal=USR1,USR2,TERM "$0" "$@"
fi
root=$(cd "$(dirname "$0")/.." && pwd)

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }
say() { echo "mpirun.sh: $1" >&2; }
refuse() { say "$1"; usage >&2; exit 64; }

# Everything up to `--` is mpirun's; without `--` the first word that is no option of ours begins the command.
ranks=
program=${RETAIN:-}
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

# Of builds for use the one that was made last: never one with sanitizers, nor of a debugger.
if [ -z "$program" ]; then
  program=$(ls -t "$root"/build/{cuda,cpu}/bin/retain 2>/dev/null | head -n 1 || true)
  [ -n "$program" ] || [ ! -x "$root/../../bin/retain" ] || program=$(realpath "$root/../../bin/retain")
fi
if [ ! -x "$program" ]; then
  say "no program ${program:-under $root/build}; build it with: cmake --preset cpu && cmake --build --preset cpu"
  exit 66
fi

# The mpirun of the MPI that the program was built with, where its build folder tells, and else the first in PATH.
mpirun=$(sed -n 's/^MPIEXEC_EXECUTABLE:[A-Z]*=//p' "$(dirname "$program")/../CMakeCache.txt" 2>/dev/null || true)
[ -x "$mpirun" ] || mpirun=mpirun
about=$("$mpirun" --version 2>&1 | head -n 3 || true)
case "$about" in
  *"Open MPI"* | *OpenRTE* | *OpenMPI*) ;;
  *)
    say "'$mpirun' is not Open MPI's: it says '${about%%$'\n'*}'. Put Open MPI's first in PATH; a program that is built with
MPICH is started by MPICH's own mpiexec: mpiexec -n $ranks $program $*"
    exit 69
    ;;
esac

if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# Where the ranks go. On other machines mpirun itself knows how many slots there are, what shares them, and what it was told.
elsewhere=${SLURM_JOB_NODELIST:-}${PBS_NODEFILE:-}${LSB_HOSTS:-}
told=
for option in ${options[@]+"${options[@]}"}; do
  case "$option" in
    -H | --host | -host | --hostfile | -hostfile | --machinefile | -machinefile | --default-hostfile | -N | -npernode | \
      --npernode | ppr:*) elsewhere=yes ;;&
    --bind-to* | -bind-to* | --map-by* | -map-by* | --rankfile | -rf | --cpu-set | --cpu-list) told=yes ;;
  esac
done
cores=$(env -u OMP_NUM_THREADS nproc)  # which obeys OpenMP's setting
# Like nproc, mpirun counts hardware threads: a machine of one core with two of them takes two ranks.
arguments=(-n "$ranks" --use-hwthread-cpus)
if [ -z "$elsewhere" ] && [ "$ranks" -gt "$cores" ]; then
  say "$ranks ranks on $cores processors take turns (--oversubscribe)"
  arguments+=(--bind-to none --oversubscribe --mca mpi_yield_when_idle 1)
elif [ -z "$told" ]; then
  # Neighbours share a socket's memory and GPUs. A whole socket: the system moves ranks within it, so that two jobs of one
  # machine do not sit on the same cores. With one socket, or a part of the machine, there is nothing to bind to.
  sockets=$(lscpu -p=NODE 2>/dev/null | grep -v '^#' | sort -u | wc -l || true)
  all=$(lscpu -p=CPU 2>/dev/null | grep -vc '^#' || true)
  if [ -z "$elsewhere" ] && [ "$sockets" -gt 1 ] && [ "$cores" = "$all" ] && [ $((ranks % sockets)) = 0 ]; then
    say "$((ranks / sockets)) ranks on each of $sockets NUMA nodes, bound to them (--bind-to none leaves them free)"
    arguments+=(--map-by "ppr:$((ranks / sockets)):numa" --bind-to numa)
  else
    arguments+=(--bind-to none)
  fi
fi
# Else it waits for minutes for a machine that is gone.
[ -z "$elsewhere" ] || arguments+=(--mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3)
# In containers a process may not read another's memory, which hangs or kills the default shared-memory transport.
if [ -f /.dockerenv ] || [ -f /run/.containerenv ] || grep -qsE 'docker|containerd|lxc|kubepods' /proc/1/cgroup; then
  arguments+=(--mca btl_vader_single_copy_mechanism none)
fi
# What ranks on other machines would not see otherwise; mpirun itself passes on OMPI_*.
for name in $(compgen -e | grep -E '^(NCCL_|OMP_|OPENBLAS_|UCX_|HDF5_|RETAIN|LD_LIBRARY_PATH$)' || true); do
  case " ${options[*]-} " in *" $name"[\ =]*) ;; *) arguments+=(-x "$name") ;; esac
done

# Memory that killed jobs of this user left, which nobody has mapped.
leftovers=$(find /dev/shm -maxdepth 1 -name "vader_segment.$(hostname -s).*" -user "$(id -u)" -mmin +1 2>/dev/null || true)
if [ -n "$leftovers" ]; then
  mapped=$(cat /proc/[0-9]*/maps 2>/dev/null | grep -o '/dev/shm/vader_segment[^ ]*' | sort -u || true)
  comm -23 <(sort <<<"$leftovers") <(echo "$mapped") | xargs -r rm -f --
fi

# mpirun is a group of processes of its own: Ctrl-C reaches this script alone, which passes it on. It ends with the script.
guard=$(command -v setpriv || true)
[ -z "$guard" ] || "$guard" --pdeathsig TERM true 2>/dev/null || guard=  # an older one does not know it
set -m
${guard:+"$guard" --pdeathsig TERM} "$mpirun" "${arguments[@]}" ${options[@]+"${options[@]}"} "$program" "$@" <&0 &
mpirun_pid=$!
set +m

catches() { local caught; caught=$(sed -n 's/^SigCgt:\s*//p' "/proc/$1/status" 2>/dev/null) && (((0x${caught:-0} >> 9) & 1)); }
# The ranks on this machine.
name=$(basename "$program" | cut -c 1-15)
ranks_here() {
  local child
  for child in $(cat "/proc/$mpirun_pid"/task/*/children 2>/dev/null); do
    [ "$(cat "/proc/$child/comm" 2>/dev/null)" != "$name" ] || echo "$child"
  done
}
# mpirun and they have their handlers: before that a signal would kill them. Ranks elsewhere cannot be looked at, and are given
# ten seconds.
have_handlers() {
  catches "$mpirun_pid" || return 1  # in a trap a bare return gives the code of what the signal interrupted
  local rank found=
  for rank in $(ranks_here); do
    catches "$rank" || return 1
    found=yes
  done
  [ -n "$found" ] || [ $SECONDS -ge 10 ]
}
# To one rank, which asks all others; to mpirun where none is here. Not every mpirun passes signals on.
pass_on() {
  for ((i = 0; i < 200; i++)); do
    have_handlers && break
    kill -0 "$mpirun_pid" 2>/dev/null || return 0
    sleep 0.05
  done
  local rank
  read -r rank <<<"$(ranks_here)"
  kill "-$1" "${rank:-$mpirun_pid}" 2>/dev/null || true
}
end() {  # CODE: the first time politely
  if [ -z "$saving" ]; then
    saving=yes
    say "the run saves and ends; the same signal again ends it at once"
    pass_on USR1
    return 0
  fi
  trap '' INT TERM HUP
  kill -TERM "$mpirun_pid" 2>/dev/null || true
  wait "$mpirun_pid" || true
  exit "$1"
}
saving=
trap 'end 130' INT
trap 'end 143' TERM
trap 'end 129' HUP
for signal in USR1 USR2; do trap "pass_on $signal" $signal; done

code=0
wait_for_mpirun() {
  local ended=0
  wait "$mpirun_pid" || ended=$?
  [ "$ended" = 127 ] || code=$ended  # 127: the wait before was told of the end
}
while kill -0 "$mpirun_pid" 2>/dev/null; do wait_for_mpirun; done  # a signal ends a wait too
wait_for_mpirun
exit "$code"
