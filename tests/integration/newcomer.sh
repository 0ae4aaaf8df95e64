# What a newcomer types: README's run.yaml with its commands, then the examples of all help pages as they are printed, one
# after the other in one folder. The demo's model and a tokenizer's vocabulary are made tiny; nothing else is changed.
. "$(dirname "$0")/common.sh"
export CUDA_VISIBLE_DEVICES=''  # four ranks would want four GPUs
mkdir -p books configs golden
echo '{"goal": "Open a jar", "sol1": "Turn its lid.", "sol2": "Eat it.", "label": 0}' >piqa.jsonl
echo '{"text": "The dog ran to the man, and the man to the dog"}' >lambada.jsonl
cp text.txt books/one.txt
head -c 9000 text.txt | tee book.txt >books/two.txt
python3 -c 'import json; [print(json.dumps({"content": line.rstrip("\n")})) for line in open("book.txt")]' | gzip >web-1.jsonl.gz
cp "$source_dir"/configs/*.yaml configs/
cp -r "$source_dir/tests/trainer/interop/golden/fla-tiny" golden/
sed -E -e 's/layers: 4/layers: 1/; s/hidden_size: 160/hidden_size: 16/; s/ffn_size: 320/ffn_size: 16/; s/seq_len: 256/seq_len: 32/' \
  -e 's/ tokens: 2Mi/ tokens: 64Ki/; s/batch_tokens: 2Ki/batch_tokens: 64/; s/micro_batch_tokens: 512/micro_batch_tokens: 32/' \
  -e 's/tokens: 256Ki/tokens: 256/' "$source_dir/configs/demo.yaml" >configs/demo.yaml

# ---- README ----
awk '/^```yaml$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "${source_dir}/README.md" >run.yaml
[ "$(wc -l <run.yaml)" -eq 10 ] || fail "README's run.yaml has $(wc -l <run.yaml) lines"
"$retain" data prepare book.txt --out data/book --tokenizer bytes --holdout 5% 2>/dev/null
less="--set train.tokens=8Ki --set eval.tokens=512 --set eval.every=0"
expect_code 0 "$retain" train run.yaml $less
[ -e runs/mine/DONE ] || fail "no DONE"
expect_code 0 ranks 4 train run.yaml --set parallel.tp=2 --set parallel.cp=2 $less --set train.tokens=10Ki
for file in $(find runs/mine -mindepth 1 -maxdepth 1 -printf '%f\n' | sed -E 's/step-[0-9]+/step-…/') checkpoints/latest; do
  grep -qE "^\|.*\`$file(/|/step-…)?\`" "${source_dir}/README.md" || fail "README does not say what $file of a run is"
done

# ---- help pages ----
retain() { "$retain" "$@"; }
mpirun() {  # mpirun -n RANKS retain ARGUMENTS…
  [ "$1 $3" = "-n retain" ] || fail "an example starts mpirun $*"
  ranks "$2" "${@:4}"
}
examples() { sed -n '/^Examples:$/,/^$/p' "$1" | sed -n 's/^  //p'; }
count=0
run_page() {  # VERB…
  retain help "$@" >page.txt
  [ "$(examples page.txt | wc -l)" -ge 2 ] || fail "retain help $*: fewer than two examples"
  while IFS= read -r line; do
    code=0
    eval "$(sed -E 's/--vocab [0-9]+k?/--vocab 310/' <<<"$line")" >out.txt 2>&1 </dev/null || code=$?
    # Two steps of a run differ, and diff says so by its exit code.
    [ "$code" = 0 ] || { [ "$code" = 65 ] && [[ "$line" = *"checkpoint diff"* ]]; } ||
      { cat out.txt; fail "retain help $*: exit $code of: $line"; }
    echo "$line" >>run.txt
    count=$((count + 1))
  done < <(examples page.txt)
}
run_page
run_page data prepare
[[ "$("$retain" data train-tokenizer none --vocab 300 --out none 2>&1)" = *"has no SentencePiece"* ]] || run_page data train-tokenizer
for verb in train plan eval generate "data info" "data show"; do run_page $verb; done
for group in checkpoint bench; do
  for verb in $(retain help $group | sed -n "s/^  $group \([a-z]*\).*/\1/p"); do run_page $group "$verb"; done
done
# A server and its client, as the page has them but for the port.
command -v curl >/dev/null || curl() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[2], sys.argv[4].encode()).read().decode())' "$@"; }
if [[ "$("$retain" serve nowhere --port 0 2>&1)" != *"no HTTP library"* ]]; then
  retain help serve >page.txt
  while IFS= read -r line; do
    : >url.txt
    eval "${line/8000/0}" >url.txt 2>serve.log &
    for ((i = 0; i < 400 && $(wc -c <url.txt) == 0; i++)); do sleep 0.05; done
    eval "$(examples page.txt | sed -n "s#^\(curl.*\)http://127.0.0.1:8000#\1$(cat url.txt)#p")" >out.txt || { cat serve.log; fail "a client of: $line"; }
    grep -q '"object":"text_completion"' out.txt || fail "$line: $(cat out.txt)"
    kill %% && wait || fail "exit $? of: $line"
  done < <(examples page.txt | grep '^retain')
fi
[ "$count" -ge 30 ] || fail "only $count examples were found"
for group in data checkpoint bench; do  # whose examples are the first ones of its verbs
  retain help $group >page.txt
  examples page.txt | while IFS= read -r line; do
    grep -qxF -- "$line" run.txt || [[ "$line" = *train-tokenizer* ]] || fail "retain help $group: not run: $line"
  done
done
echo passed
