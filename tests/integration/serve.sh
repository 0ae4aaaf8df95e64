# A server: what OpenAI's clients and lm-evaluation-harness ask of it, thousands of requests that are none, a thousand clients at
# once, clients that go away, and its end.
. "$(dirname "$0")/common.sh"
export CUDA_VISIBLE_DEVICES=''
client() { python3 "$source_dir/tests/integration/serve_client.py" "$url" "$@" || { cat serve.log; fail "$*"; }; }
# start OPTIONS…: sets url and server
start() {
  : >url.txt
  "$retain" serve run --port 0 "$@" >url.txt 2>serve.log &
  server=$!
  for ((i = 0; i < 400; i++)); do
    url=$(cat url.txt)
    [ -z "$url" ] || return 0
    kill -0 $server 2>/dev/null || break
    sleep 0.05
  done
  cat serve.log
  fail "the server does not begin"
}
# stop SIGNAL: it ends with 0
stop() {
  local code=0
  kill "-$1" $server
  wait $server || code=$?
  [ $code = 0 ] || { cat serve.log; fail "exit $code after SIG$1"; }
}

"$retain" train tiny.yaml >/dev/null 2>&1
if "$retain" serve nowhere --port 0 2>&1 | grep -q 'no HTTP library'; then
  echo "this build has no HTTP library"
  exit 77
fi
expect_code 66 "$retain" serve nowhere --port 0
expect_code 64 "$retain" serve run --port 0 --host ''
expect_code 64 bash -c "ulimit -n 64; exec '$retain' serve run --port 0"
expect_code 73 "$retain" serve run --port 0 --host no.such.host.invalid
! grep -q 'Cannot assign' out.txt || fail "$(cat out.txt)"

start --slots 4 --queue 60 --max-body 64Ki
client api
client leavers
client malformed $server "${RETAIN_MALFORMED:-10000}"
client clients 1000 64
expect_code 73 "$retain" serve run --port "${url##*:}"
stop INT

# Every one of a thousand is answered where there is room for them to wait.
start --slots 32 --queue 1000 --max-tokens 1Mi
client clients 1000 1000
# An answer under way is finished, and new ones are refused.
client endless 30000 >ended.txt &
endless=$!
client under_way
stop TERM
wait $endless || fail "the answer was cut"
grep -q "30000 characters; .*'finish_reason': 'length'" ended.txt || fail "the answer was cut: $(cat ended.txt)"
grep -q 'SIGTERM: no more requests are taken' serve.log || fail "$(cat serve.log)"

# What takes longer than the limit is told so.
start --max-tokens 1Gi --drain 1s
client endless 1000000000 >ended.txt &
endless=$!
client under_way
stop TERM
wait $endless || true
grep -q 'the server ends' ended.txt || fail "the client does not hear of the end: $(tail -c 300 ended.txt)"
echo passed
