# The doctor under a launcher and alone: what it finds, that it leaves nothing behind, and what it says of a machine that
# is not fit.
. "$(dirname "$0")/common.sh"

# has JSON PYTHON: an expression over the document d
has() { python3 -c "import json,sys; d=json.load(open('$1')); sys.exit(not ($2))" || { cat "$1"; fail "$1: $2"; }; }
# of CHECK: an expression that gives the verdicts of a check
verdicts='sorted(f["verdict"] for f in d["findings"] if f["check"] == "%s")'
of() { printf "$verdicts" "$1"; }

ranks 4 doctor tiny.yaml --json >four.json 2>four.log || { cat four.json four.log; fail "four ranks"; }
has four.json 'd["ranks"] == 4 and d["failures"] == 0 and len(d["machines"]) == 1'
has four.json '{f["group"] for f in d["findings"]} >= {"versions", "gpus", "binding", "network", "disk", "limits", "run"}'
for check in retain MPI HDF5 use inputs room; do has four.json "$(of $check) == [\"PASS\"]"; done
has four.json 'all(("fix" in f) == (f["verdict"] != "PASS") for f in d["findings"])'
[ -z "$(ls -A | grep -E '^\.retain-doctor|^run$')" ] || fail "something was left behind: $(ls -A)"

expect_code 0 "$retain" doctor
grep -qE '^PASS  network  +threading +not used: one process, without a launcher$' out.txt || { cat out.txt; fail "alone"; }
grep -qE '^[0-9]+ passed, [0-9]+ warnings?, 0 failures$' out.txt || { cat out.txt; fail "the last line"; }

# A rank with few descriptors is named, and it alone; a run that has no data and no room for its checkpoints is not fit.
ulimit_of_one='[ "${OMPI_COMM_WORLD_RANK:-0}" != 1 ] || ulimit -n 200; exec "$0" "$@"'
"$source_dir/launch/mpirun.sh" --program /bin/bash -n 3 -- -c "$ulimit_of_one" "$retain" doctor tiny.yaml --json >few.json 2>few.log ||
  { cat few.json few.log; fail "a rank with few descriptors"; }
has few.json "$(of descriptors) == [\"WARN\"]"
has few.json 'any("200 open files): rank 1 on" in f["value"] for f in d["findings"])'

expect_code 69 "$retain" doctor tiny.yaml --set 'data.train=[{path: nothing_there}]'
grep -qE '^FAIL  run +inputs .*nothing_there' out.txt || { cat out.txt; fail "missing data"; }
expect_code 69 ranks 2 doctor tiny.yaml --set run.dir=/proc/nowhere
grep -qE '^FAIL  disk +probe .*/proc.*: rank 0 on' out.txt || { cat out.txt; fail "a run directory that cannot be"; }
expect_code 69 "$retain" doctor tiny.yaml --set model.layers=2000 --set model.hidden_size=65536 --set model.ffn_size=65536
grep -qE '^FAIL  run +memory' out.txt || { cat out.txt; fail "too little memory"; }
grep -qE '^FAIL  disk +room +the checkpoint of step 10 will not fit' out.txt || { cat out.txt; fail "no room"; }
expect_code 78 "$retain" doctor tiny.yaml --set model.heads=5
