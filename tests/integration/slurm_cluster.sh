# Sourced: a Slurm of our own in the folder "$cluster", for root on one machine. Two nodes of four processors are two slurmd,
# each with a host name of its own (else Open MPI takes ranks of both for neighbours who share memory). Nothing of the
# system's is touched. Jobs in the partition "urgent" preempt those in "main", who get 10 s and are queued again.
#   cluster_up      returns 1 and says why where that cannot be had
#   cluster_down
cluster_up() {
  local tool node
  for tool in munged slurmctld slurmd sbatch unshare; do
    command -v $tool >/dev/null || { echo "there is no $tool (Debian: slurm-wlm, munge)"; return 1; }
  done
  [ "$(id -u)" = 0 ] || { echo "only root may give the nodes host names of their own"; return 1; }
  unshare --uts true 2>/dev/null || { echo "unshare --uts is forbidden here"; return 1; }
  local port=$((20000 + RANDOM % 8000))
  mkdir -p "$cluster/state" "$cluster/log"
  chmod 755 "$cluster" "$cluster/.."
  head -c 128 /dev/urandom >"$cluster/munge.key"
  chmod 400 "$cluster/munge.key"
  export SLURM_CONF=$cluster/slurm.conf
  {
    cat <<END
ClusterName=retain
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool.%n
TmpFS=$cluster/tmp.%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.%n.pid
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
KillWait=5
SlurmdTimeout=30
PropagateResourceLimits=NONE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=node0,node1 Default=YES MaxTime=60 PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=node0,node1 MaxTime=60 PriorityTier=2
END
    # A job that is queued again waits until its old credential has expired.
    echo "AuthInfo=socket=$cluster/munge.sock,cred_expire=5"
    echo "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0"
    for node in 0 1; do echo "NodeName=node$node NodeAddr=127.0.0.1 Port=$((port + 2 + node)) CPUs=4 RealMemory=4000"; done
  } >"$SLURM_CONF"
  munged --force --key-file="$cluster/munge.key" --socket="$cluster/munge.sock" --pid-file="$cluster/munge.pid" \
    --log-file="$cluster/log/munged.log" --seed-file="$cluster/munge.seed" >/dev/null 2>&1 || { echo "munged does not start"; return 1; }
  slurmctld -c -f "$SLURM_CONF" || { echo "slurmctld does not start"; return 1; }
  for node in node0 node1; do
    mkdir -p "$cluster/spool.$node" "$cluster/tmp.$node"
    unshare --uts sh -c "hostname $node; exec slurmd -c -f '$SLURM_CONF' -N $node" || { echo "slurmd does not start"; return 1; }
  done
  for _ in $(seq 150); do
    [ "$(sinfo -h -p main -o %T 2>/dev/null | sort -u)" = idle ] && return 0
    sleep 0.2
  done
  echo "the nodes do not come up: $(tail -n 3 "$cluster"/log/*)"
  return 1
}

cluster_down() {
  [ ! -e "$cluster/slurmctld.pid" ] || timeout 20 scancel -f -s KILL -u root 2>/dev/null || true
  sleep 1
  local pid_file
  for pid_file in "$cluster"/*.pid; do [ ! -e "$pid_file" ] || kill "$(cat "$pid_file")" 2>/dev/null || true; done
  sleep 1
}
