# Variables and ~ in paths: the same in every path of every verb and of a configuration, and no file is ever made under a
# literal '$' or '~'. A set of tokens is named by its prefix or by either of its files.
. "$(dirname "$0")/common.sh"
export HOME=$work/home SCRATCH=$work/scratch
unset NOWHERE
mkdir -p "$HOME" "$SCRATCH"

# What a shell leaves alone, because it is quoted or stands behind '='.
"$retain" data prepare '$PWD/text.txt' --out='~/sets/a.bin' 2>/dev/null
[ -e "$HOME/sets/a.idx" ] && [ -e "$HOME/sets/a.bin" ] || fail "not under the home folder: $(find .)"
for name in a a.bin a.idx; do expect_code 0 "$retain" data info "~/sets/$name"; done
cat >"$HOME/run.yaml" <<'YAML'
base: ["${SCRATCH}/../tiny.yaml"]
run: {dir: "$SCRATCH/run"}
data: {train: [{path: "~/sets/a.idx"}], valid: {held: "${HOME}/sets/a.bin"}}
YAML
small="--set train.tokens=2560 --set checkpoint.every=5"
ranks 2 train '~/run.yaml' $small >/dev/null 2>&1 || fail "two ranks do not train"
for value in "dir: $SCRATCH/run " "path: $HOME/sets/a.idx" "held: $HOME/sets/a.bin"; do
  grep -qF "$value" "$SCRATCH/run/resolved.yaml" || fail "'$value' is not in resolved.yaml: $(cat "$SCRATCH/run/resolved.yaml")"
done
expect_code 0 "$retain" train '~/run.yaml' $small --set 'run.dir=~/other' --init-from '$SCRATCH/run' --set train.tokens=512
expect_code 0 "$retain" train '~/run.yaml' $small --set 'run.dir=~/third' --resume '${SCRATCH}/run/checkpoints/step-00000005'
expect_code 0 "$retain" eval '$SCRATCH/run' --data 'held=~/sets/a' --tokens 64
expect_code 0 "$retain" generate '$SCRATCH/run' --prompt 'costs $NOWHERE ~/x' --max-tokens 1
grep -qF 'costs $NOWHERE ~/x' out.txt || fail "a text was taken for a path: $(cat out.txt)"
for verb in list verify digest; do expect_code 0 "$retain" checkpoint $verb '$SCRATCH/run'; done
expect_code 0 "$retain" checkpoint diff '$SCRATCH/run' "$SCRATCH/run"
expect_code 0 "$retain" plan '~/run.yaml'

# A variable that is not set.
refused() {  # CODE PATTERN COMMAND…
  local code=$1 pattern=$2
  shift 2
  expect_code "$code" "$@"
  grep -qE -- "$pattern" out.txt || fail "'$pattern' is not in: $(cat out.txt)"
  [ "$(grep -c NOWHERE out.txt)" -le 2 ] || fail "said by every rank: $(cat out.txt)"
}
unset_variable='the variable NOWHERE is not set'
refused 78 "--set 1: run.dir: $unset_variable" "$retain" train tiny.yaml --set 'run.dir=$NOWHERE/run'
refused 78 "--set 1: run.dir: $unset_variable" ranks 2 train tiny.yaml --set 'run.dir=$NOWHERE/run'
sed 's/path: text_train/path: $NOWHERE\/text_train/' tiny.yaml >bad.yaml
refused 78 "bad.yaml:3:41: data.train: $unset_variable" "$retain" plan bad.yaml
refused 64 "retain: CONFIG: $unset_variable" ranks 2 train '$NOWHERE/x'
refused 64 "retain: --init-from: $unset_variable" "$retain" train tiny.yaml --init-from '$NOWHERE/x'
refused 64 "retain: --resume: $unset_variable" "$retain" train tiny.yaml --resume '$NOWHERE/x'
refused 64 "retain: --out: $unset_variable" "$retain" data prepare text.txt --out '$NOWHERE/x'
refused 64 "retain: INPUT: $unset_variable" "$retain" data prepare '$NOWHERE/x' --out x
refused 64 "retain: --data held: $unset_variable" "$retain" eval run --data 'held=$NOWHERE/x'
for verb in plan "data info" "checkpoint list" "checkpoint verify" "checkpoint digest" "checkpoint check" "bench gemm" "bench step" "bench generate"; do
  refused 64 "retain: [A-Z]*: $unset_variable" "$retain" $verb '$NOWHERE/x'
done
refused 64 "retain: SECOND: $unset_variable" "$retain" checkpoint diff run '${NOWHERE}'
refused 64 "retain: CHECKPOINT: $unset_variable" "$retain" generate '$NOWHERE' --prompt x

literal=$(find . -name '*$*' -o -name '~*')
[ -z "$literal" ] || fail "made under a literal name: $literal"
echo passed
