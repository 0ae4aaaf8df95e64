# More sources than a process may have files open.
. "$(dirname "$0")/common.sh"

list= valid=
for i in $(seq 1 120); do
  cp text_valid.bin source$i.bin
  cp text_valid.idx source$i.idx
  list="$list{path: source$i}, "
  valid="${valid}v$i: source$i, "
done
several() (ulimit -n 128 && "$retain" train tiny.yaml --set "data.train=[${list%, }]" --set "data.valid={${valid%, }}" --set eval.tokens=64)
expect_code 0 several
[ "$(grep -c loss run/metrics.jsonl)" -ge 40 ] || fail "$(cat out.txt)"
echo passed
