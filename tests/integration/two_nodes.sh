# Two nodes with addresses of their own (network namespaces joined by a bridge), and mpirun on a third: a run under
# --supervise loses one of them and goes on on the other, as another dp, and takes the node back when it answers again.
. "$(dirname "$0")/common.sh"
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "only root makes network namespaces"
command -v ip >/dev/null || skip "there is no ip (Debian: iproute2)"
bridge=rt$$
subnet=10.$((RANDOM % 100 + 100)).$((RANDOM % 250))
ip link add $bridge type bridge 2>/dev/null || skip "no bridge may be made here"
down() {
  for node in node0 node1; do
    for pid in $(ip netns pids $bridge$node 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del $bridge$node 2>/dev/null || true
  done
  ip link del $bridge 2>/dev/null || true
}
trap 'kill $(jobs -p) 2>/dev/null || true; down; rm -rf "$work"' EXIT
ip addr add $subnet.254/24 dev $bridge
ip link set $bridge up
for i in 0 1; do
  ip netns add ${bridge}node$i 2>/dev/null || skip "no network namespace may be made here"
  ip link add $bridge.$i type veth peer name eth0 netns ${bridge}node$i
  ip link set $bridge.$i master $bridge up
  ip -n ${bridge}node$i addr add $subnet.$((i + 1))/24 dev eth0
  ip -n ${bridge}node$i link set eth0 up
  ip -n ${bridge}node$i link set lo up
done
# In place of ssh: a command on a node, which has a host name of its own. Of a node that is gone it hears nothing.
cat >agent <<END
#!/bin/bash
while [[ \$1 == -* ]]; do shift; done
host=\$1
shift
silence() { while [ -e $PWD/\$host.gone ]; do sleep 1; done; }
silence
ip netns exec $bridge\$host unshare --uts -- sh -c "hostname \$host; \$*"
code=\$?
silence
exit \$code
END
chmod +x agent
printf 'node0 slots=2\nnode1 slots=2\n' >hosts
export OMPI_MCA_plm_rsh_agent=$PWD/agent OMPI_MCA_oob_tcp_if_include=$subnet.0/24 OMPI_MCA_btl_tcp_if_include=$subnet.0/24

# At a small rate: what layouts differ by in rounding grows a millionfold in 250 steps of a large one.
sed -i 's/lr: 3e-3/lr: 3e-5/; s/tokens: 10240, batch_tokens: 256/tokens: 64000, batch_tokens: 256/; s/every: 10, keep: 10/every: 5, keep: 3/; s/eval: {every: 20/eval: {every: 0/' tiny.yaml
"$retain" train tiny.yaml --set run.dir=whole >/dev/null 2>&1
newest() { cat run/checkpoints/latest 2>/dev/null || true; }
wait_for_new_checkpoint() {  # SECONDS: within them
  local before since=$SECONDS
  before=$(newest)
  until [ "$(newest)" != "$before" ]; do
    kill -0 $supervisor 2>/dev/null || fail "the supervisor ended: $(cat out.txt)"
    [ $((SECONDS - since)) -lt "$1" ] || fail "nothing was saved within $1 s: $(cat out.txt)"
    sleep 0.05
  done
}
wait_for_restart() {  # NUMBER
  local since=$SECONDS
  until [ "$(grep -c "; starts again" out.txt)" = "$1" ]; do
    [ $((SECONDS - since)) -lt 70 ] || fail "the end of a life is not noticed: $(cat out.txt)"
    sleep 0.05
  done
}
ranks_on() { for pid in $(ip netns pids $bridge$1); do grep -sqz train /proc/$pid/cmdline && echo $pid; done || true; }

"$retain" launch tiny.yaml --supervise --hostfile hosts --ranks-per-node 2 >out.txt 2>&1 &
supervisor=$!
wait_for_new_checkpoint 30
[ "$(ranks_on node0 | wc -l)" = 2 ] && [ "$(ranks_on node1 | wc -l)" = 2 ] || fail "no two ranks a node: $(cat out.txt)"

# The node is gone, without a last word to anybody.
touch node1.gone
ip -n ${bridge}node1 link set eth0 down
for pid in $(ip netns pids ${bridge}node1); do kill -9 $pid 2>/dev/null || true; done
since=$SECONDS
wait_for_restart 1
echo "the job ended $((SECONDS - since)) s after the death of a node"
wait_for_new_checkpoint 60
echo "a new checkpoint $((SECONDS - since)) s after the death of a node"
grep -q "without node1, which does not answer" out.txt || fail "$(cat out.txt)"
[ "$(ranks_on node0 | wc -l)" = 2 ] && [ -z "$(ranks_on node1)" ] || fail "not on the other node alone: $(cat out.txt)"
grep -q -- "-H node0:2 " run/jobs/0002.sh || fail "$(cat run/jobs/0002.sh)"

# It is back when the next start comes.
rm node1.gone
ip -n ${bridge}node1 link set eth0 up
kill -9 "$(ranks_on node0 | tail -n 1)"
wait_for_restart 2
wait_for_new_checkpoint 60
[ "$(ranks_on node1 | wc -l)" = 2 ] || fail "the node that is back is not used: $(cat out.txt)"
wait $supervisor || fail "exit $?: $(cat out.txt)"
[ -e run/DONE ] || fail "not done"
losses_near whole run || fail "losses differ"
echo passed
