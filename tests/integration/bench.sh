# The measurements run on a CPU at small sizes, say what they measured, and leave no file behind.
. "$(dirname "$0")/common.sh"
export TMPDIR=$work/tmp
mkdir -p "$TMPDIR"

# has JSON PYTHON: an expression over the document d
has() { python3 -c "import json,sys; d=json.load(open('$1')); sys.exit(not ($2))" || { cat "$1"; fail "$1: $2"; }; }
positive='all(v > 0 for r in d["rows"] for v in r.values() if isinstance(v, (int, float)))'

small="--set model.layers=2 --set model.hidden_size=64 --set model.heads=2 --set model.ffn_size=96 --set model.vocab_size=512"
"$retain" bench gemm $small --set device=cpu --tokens 128 --repeats 2 --json >gemm.json
has gemm.json 'd["schema"] == 1 and d["bench"] == "gemm" and len(d["rows"]) == 16'
has gemm.json '(d["rows"][0]["m"], d["rows"][0]["n"], d["rows"][0]["k"]) == (128, 384, 64)'
has gemm.json '(d["rows"][2]["m"], d["rows"][2]["n"], d["rows"][2]["k"]) == (384, 64, 128)'
has gemm.json "$positive"
"$retain" bench gemm tiny.yaml --set parallel.tp=2 --repeats 1 >gemm.txt
grep -qE '^q,k,v,g +forward +64 +96 +32 ' gemm.txt || { cat gemm.txt; fail "gemm of two tensor-parallel ranks"; }
expect_code 78 "$retain" bench gemm $small --set device=cpu --set model.heads=3

"$retain" bench retention --device cpu --tokens 256 --seq-len 64,100,512 --heads 2 --key-dim 16 --value-dim 32 --repeats 2 --json >retention.json
has retention.json '[(r["seq_len"], r["sequences"]) for r in d["rows"]] == [(64, 4), (100, 2), (512, 1)]'
has retention.json "$positive"

ranks 2 bench collectives --device cpu --max-bytes 256Ki --repeats 2 --json >collectives.json
has collectives.json '[r["bytes"] for r in d["rows"]] == 3 * [65536, 262144] and d["communicator"] == "mpi"'
has collectives.json "$positive"
has collectives.json 'abs(d["rows"][2]["bus_gb_per_s"] / d["rows"][2]["algorithm_gb_per_s"] - 0.5) < 1e-9'
expect_code 64 "$retain" bench collectives --device cpu

"$retain" bench step tiny.yaml --steps 3 --warmup 1 --json >step.json
has step.json 'd["rows"][0]["tokens_a_step"] == 256 and 0 < d["rows"][0]["first_step_s"] < 60'
has step.json "$positive"
has step.json 'd["rows"][0]["between_steps_us"] <= d["rows"][0]["longest_between_us"]'
has step.json 'd["rows"][0]["library_bytes"] is None and d["rows"][0]["mj_per_token"] is None'
"$retain" plan tiny.yaml --json >plan.json
has plan.json 'd["library_bytes"] == {} and d["machine"] is None and d["staging_bytes"] > 0'
"$retain" plan tiny.yaml --set device=cuda --set train.chunk=auto --json >gpu_plan.json
has gpu_plan.json 'd["library_bytes_total"] == sum(d["library_bytes"].values()) > 1e8'
has plan.json 'd["predicted"] is None and d["measured"] is None'
"$retain" plan tiny.yaml --gpu h200 --gpus 2 --set train.chunk=auto --price 3 --json >predicted.json
has predicted.json 'abs(sum(d["predicted"]["parts_seconds"].values()) - d["predicted"]["step_seconds"]) < 1e-9'
has predicted.json 'd["device"] == "cuda" and abs(d["predicted"]["cost"] - 3 * d["predicted"]["gpu_hours"]) < 1e-9'
"$retain" plan tiny.yaml --gpu h200 --search --gpus 2 --set train.chunk=auto >search.txt
grep -q '^the first: ' search.txt || fail "plan --search: $(cat search.txt)"
expect_code 64 "$retain" plan tiny.yaml --search
"$retain" plan --explain data.seq_len | grep -q '^  unit     tokens$' || fail "plan --explain"
"$retain" plan tiny.yaml --set device=cuda --set train.chunk=auto >plan.txt
grep -qE '^  CUDA context +[0-9.]+ MiB' plan.txt || fail "plan does not say what CUDA takes: $(cat plan.txt)"
has step.json "d['rows'][0]['memory_bytes'] == json.load(open('plan.json'))['memory_bytes_total']"
ranks 2 bench step tiny.yaml --set parallel.cp=2 --steps 2 --warmup 1 >step.txt
grep -qE '^dp=1 cp=2 tp=1 +32 +256 ' step.txt || { cat step.txt; fail "step on two ranks"; }
ranks 2 bench step tiny.yaml --set parallel.tp=2 --set parallel.tp_chunks=3 --steps 2 --warmup 1 --json >step.json
has step.json 'd["rows"][0]["tp_chunks"] == 3'

"$retain" bench generate tiny.yaml --batch 1,3 --context 1,1Mi --tokens 4 --json >generate.json
has generate.json '[(r["batch"], r["context"]) for r in d["rows"]] == [(1, 1), (1, 1048576), (3, 1), (3, 1048576)]'
has generate.json "$positive"
has generate.json 'd["rows"][2]["memory_bytes"] - d["rows"][0]["memory_bytes"] == 2 * d["state_bytes"] > 0'

[ ! -e run ] || fail "bench made a run directory"
[ -z "$(find "$TMPDIR" -name 'retain-*')" ] || fail "bench left $(ls "$TMPDIR")"
echo passed
