# Bad input: a clear error with the place and the remedy, the right exit code, and nothing started.
. "$(dirname "$0")/common.sh"

refused() {  # CODE PATTERN COMMAND…
  local code=$1 pattern=$2
  shift 2
  expect_code "$code" "$@"
  grep -qE "$pattern" out.txt || fail "'$pattern' is not in: $(cat out.txt)"
  [ ! -e run ] || fail "a run directory was made by: $*"
}
huge="--set model.hidden_size=65536 --set model.ffn_size=65536 --set model.layers=64"
with() { sed "$1" tiny.yaml >bad.yaml; }

with 's/^optimizer:/optimiser:/';              refused 78 "bad.yaml:6:1: .*optimiser" "$retain" train bad.yaml
with 's/lr: 3e-3/learning_rate: 3e-3/';        refused 78 "bad.yaml:6:13: .*learning_rate" "$retain" train bad.yaml
with 's/{lr: 3e-3}/{lr: 3e-3, lr: 4e-3}/';     refused 78 "bad.yaml:6:23: .*twice" "$retain" train bad.yaml
with 's/heads: 4/heads: four/';                refused 78 "bad.yaml:2:.*four" "$retain" train bad.yaml
with 's/layers: 2/layers: -2/';                refused 78 "bad.yaml:2:" "$retain" train bad.yaml
with 's/lr: 3e-3/lr: .nan/';                   refused 78 "bad.yaml:6:" "$retain" train bad.yaml
with 's/tokens: 10240/tokens: 99999999999999999999/'; refused 78 "bad.yaml:4:" "$retain" train bad.yaml
with 's/run: {/run: {{/';                      refused 78 "bad.yaml:1:" "$retain" train bad.yaml
refused 78 "parallel.tp.*1, 2, 4" ranks 3 train tiny.yaml --set parallel.tp=3
refused 78 "parallel" ranks 2 train tiny.yaml --set parallel.dp=4
refused 66 "missing.yaml" "$retain" train missing.yaml
refused 64 "did you mean 'train'" "$retain" trian tiny.yaml
refused 66 "nowhere" "$retain" generate nowhere --prompt x
sed 's/path: text_train/path: absent/' tiny.yaml >bad.yaml
refused 66 "absent" "$retain" train bad.yaml
refused 66 "absent" ranks 2 train bad.yaml
[ "$(grep -c absent out.txt)" = 1 ] || fail "a missing shard is reported by every rank: $(cat out.txt)"
# What may not be read is missing, to whoever may not.
if [ "$(id -u)" = 0 ]; then as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"; else as_nobody=; fi
chmod 755 . && chmod 000 text_valid.bin
refused 66 "text_valid.bin: cannot open: Permission denied" $as_nobody "$retain" train tiny.yaml --set data.train='[{path: text_valid}]'
chmod 644 text_valid.bin
refused 66 "gone" "$retain" train tiny.yaml --set 'data.valid={held: gone}'
refused 65 "text_valid" "$retain" train tiny.yaml --set 'data.train=[{path: text_valid}]' --set data.seq_len=4Ki \
  --set train.micro_batch_tokens=4Ki --set train.batch_tokens=4Ki --set schedule.warmup=1
refused 71 "largest parts" "$retain" train tiny.yaml $huge

# A run directory that cannot be one.
echo file >occupied
expect_code 73 "$retain" train tiny.yaml --set run.dir=occupied
expect_code 73 "$retain" train tiny.yaml --set run.dir=occupied/below
gpu="--set device=cuda --set train.chunk=auto"
refused 78 "train.chunk: is 16, but GPUs .*auto or 128" "$retain" plan tiny.yaml --set device=cuda
if "$retain" plan tiny.yaml $gpu --json | grep -q '"machine": null'; then  # no GPU here
  refused 69 "GPU" "$retain" train tiny.yaml $gpu
else
  refused 78 "train.chunk" "$retain" train tiny.yaml --set device=cuda
  refused 71 "of its GPU.*largest parts" "$retain" train tiny.yaml $gpu $huge
  refused 71 "of its GPU.*largest parts" "$retain" bench step tiny.yaml $gpu $huge
fi
# Limits of the process that libraries would stumble over: OpenBLAS asks for its memory for ever, HDF5 dies of a small stack.
# Sanitizers and CUDA's libraries need more addresses than that leaves.
limited() (ulimit "$1" "$2" && shift 2 && exec timeout -s KILL 10 "$retain" "$@")
if limited -v 600000 --version >/dev/null 2>&1; then
  for kibibytes in 150000 200000 300000 500000; do
    limited -v $kibibytes --version >/dev/null 2>&1 || continue  # nor can it be loaded
    refused 71 "(ulimit -v|[Oo]ut of memory|cannot allocate)" limited -v $kibibytes train tiny.yaml --set model.hidden_size=512
  done
  refused 71 "ulimit -v\).*are planned" limited -v 1200000 train tiny.yaml --set model.hidden_size=2048 --set model.ffn_size=2048
  # Memory that is there when a run is checked and gone when it is taken.
  expect_code 71 limited -d 600000 train tiny.yaml --set run.dir=late --set model.hidden_size=2048 --set model.ffn_size=2048
  grep -q "cannot allocate.*retain plan" out.txt || fail "nothing is named that helps: $(cat out.txt)"
  [ ! -e late/FAILED ] || fail "a run that has not begun leaves a mark"
fi
for kibibytes in 64 512; do refused 71 "ulimit -s" limited -s $kibibytes train tiny.yaml; done
# The scripts.
for script in tests/run.sh tests/gpu.sh .ci/run launch/setup.sh launch/demo.sh launch/mpirun.sh; do
  for option in -h --help; do expect_code 0 timeout 10 "$source_dir/$script" $option; done
  [ "$(wc -l <out.txt)" -le 12 ] || fail "$script --help does more than help: $(cat out.txt)"
done
refused 64 "needs a number" "$source_dir/launch/mpirun.sh" -n
refused 64 "before the verb" "$source_dir/launch/mpirun.sh" -n 2 --host a train tiny.yaml
refused 64 "no verb" "$source_dir/launch/mpirun.sh" -n 2
refused 64 "unknown argument" "$source_dir/launch/setup.sh" --chek
refused 64 "unknown argument" "$source_dir/launch/demo.sh" --txt
# Never a silent fresh start: the only checkpoint is damaged.
"$retain" train tiny.yaml --set train.tokens=2560 >/dev/null 2>&1
printf x | dd of="$(ls run/checkpoints/step-00000010/shard-*.h5)" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect_code 65 "$retain" train tiny.yaml
grep -q 'shard-00000-of-00001.h5' out.txt || fail "the damaged file is not named: $(cat out.txt)"
[ ! -e run/FAILED ] || fail "a run that has not begun leaves a mark"
echo passed
