#!/bin/bash
# Written by `retain launch`; launch/README.md says what it does.
run=/shared/runs/books
job=$run/jobs/0001  # begins the names of this job's files
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
forward=()
for name in $(compgen -e); do
  case $name in NCCL_* | OPENBLAS_* | OMP_* | CUDA_* | LD_LIBRARY_PATH) forward+=(-x "$name") ;; esac
done
# A rank on this machine that listens to signals, or else mpirun.
a_rank() {
  local child caught
  for child in $(cat "/proc/$ranks"/task/*/children 2>/dev/null); do
    [ "$(cat "/proc/$child/comm" 2>/dev/null)" = retain ] || continue
    caught=$(sed -n 's/^SigCgt:\s*//p' "/proc/$child/status" 2>/dev/null)
    if (((0x${caught:-0} >> 9) & 1)); then echo "$child" && return; fi
  done
  echo "$ranks"
}
set -m  # Ctrl-C reaches this script alone, which asks the ranks to save

start() {
  exec mpirun -n 16 -H node1:8,node2:8 --bind-to none --mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
    "${forward[@]}" \
    /shared/retain/bin/retain train "$job.yaml" </dev/null
}
# Asks all ranks to save and to end with 75.
ask() {
  while kill -USR1 "$(a_rank)"; do sleep 5; done >/dev/null 2>&1 &
}

# The first wish to end lets the run save and end with 75; a second one ends it now, a third one mpirun too.
asked=0
stop() {
  asked=$((asked + 1))
  case $asked in
    1) ask ;;
    2) kill -TERM "$ranks" 2>/dev/null ;;
    *) kill -KILL "$ranks" 2>/dev/null ;;
  esac
}
trap stop TERM INT HUP
trap ask USR1
trap 'kill -USR2 "$(a_rank)" 2>/dev/null' USR2
start &
ranks=$!
while kill -0 "$ranks" 2>/dev/null; do wait "$ranks"; done
wait "$ranks"
code=$?
exit "$code"
